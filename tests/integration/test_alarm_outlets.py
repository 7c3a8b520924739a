"""Ways of telling against the real thing: a verifying webhook receiver, Alertmanager, Apprise, a heartbeat service."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from bridge.alarm.judge import Finding
from bridge.alarm.machine import Notice, step
from bridge.alarm.sight import Sight
from bridge.alarm.wording import Words
from bridge.alarms.loop import Alarms, Telling
from bridge.config.alarms import (
    AlarmsConfig,
    AlarmWebhookConfig,
    AlertmanagerConfig,
    AppriseConfig,
    HeartbeatConfig,
)
from bridge.errors import BridgeError, SinkRefused, SinkUnavailable
from bridge.health import HealthBoard
from bridge.ingest import Ingest
from bridge.metrics import Metrics
from bridge.operate import Desk
from bridge.outlets.alertmanager import AlertmanagerOutlet
from bridge.outlets.chat import AppriseOutlet
from bridge.outlets.heartbeat import Heartbeat
from bridge.outlets.webhook import WebhookOutlet
from bridge.pump import Handoff
from bridge.testing import MemoryJournal
from demo.processes import free_port
from tests import receivers
from tests.daemon import DEADLINE_S, wait_for
from tests.receivers import Receiver

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
WORDS = Words("acme", "https://docs.example/runbooks")
PROMPT = AlarmsConfig.model_validate({"group_s": 0, "clear_s": 0, "rules": {"component": {"for_s": 0}}})
LOCAL = ["127.0.0.0/8"]


def notices() -> tuple[Notice, Notice]:
    """Firing and resolved a moment ago, of one alarm whose texts are awkward."""
    now = datetime.now(UTC) - timedelta(seconds=2)
    down = Finding("component", "source:erp", 'it said "no" — ünreachable\n<b>', ("orders", "lines"), ("system:erp",))
    fired = step({}, [down], now=now, config=PROMPT)
    ended = step(fired.alarms, [], now=now + timedelta(seconds=1), config=PROMPT)
    return fired.notices[0], ended.notices[0]


def webhook(url: str, **keys: Any) -> WebhookOutlet:  # noqa: ANN401  of its configuration
    config = {"url": url, "secrets": [SECRET], "allow_networks": LOCAL, "timeout_s": 2.0} | keys
    return WebhookOutlet(AlarmWebhookConfig.model_validate(config), WORDS)


async def tell(outlet: WebhookOutlet | AlertmanagerOutlet | AppriseOutlet, *told: Notice) -> None:
    try:
        for notice in told:
            await outlet.tell(notice)
    finally:
        await outlet.close()


def test_a_webhook_is_verified_by_the_reference_library_and_has_the_notices_id() -> None:
    firing, resolved = notices()
    with Receiver() as receiver:
        asyncio.run(tell(webhook(receiver.url), firing, resolved))
    assert receiver.ids == [firing.id, resolved.id]
    bodies = [Webhook(SECRET).verify(one.body, dict(one.headers)) for one in receiver.received]
    assert [body["type"] for body in bodies] == ["alarm.firing", "alarm.resolved"]
    (alarm,) = bodies[0]["data"]["alarms"]
    assert (alarm["subject"], alarm["blocks"], alarm["severity"]) == ("source:erp", ["orders", "lines"], "critical")
    assert alarm["runbook"] == "https://docs.example/runbooks/component-failing.md"


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (receivers.reply(500), SinkUnavailable),
        (receivers.reply(401), SinkUnavailable),
        (receivers.reply(410), SinkUnavailable),
        (receivers.redirect(307, "http://127.0.0.1:1/"), SinkUnavailable),
        (receivers.drop, SinkUnavailable),
        (receivers.reset, SinkUnavailable),
        (receivers.silence, SinkUnavailable),
        (receivers.SLOW_HEADERS, SinkUnavailable),
        (receivers.reply(400), SinkRefused),
        (receivers.reply(413), SinkRefused),
    ],
)
def test_what_each_answer_means(act: receivers.Act, error: type[BridgeError]) -> None:
    with Receiver([act]) as receiver, pytest.raises(error):
        asyncio.run(tell(webhook(receiver.url, timeout_s=0.5), notices()[0]))


def test_a_receiver_that_asks_for_time_is_given_it() -> None:
    with Receiver([receivers.retry_after(503, seconds=120)]) as receiver, pytest.raises(SinkUnavailable) as caught:
        asyncio.run(tell(webhook(receiver.url), notices()[0]))
    assert caught.value.retry_after_s == 120


def test_a_private_network_is_told_only_when_it_is_allowed() -> None:
    with Receiver() as receiver, pytest.raises(SinkUnavailable, match="blocked"):
        asyncio.run(tell(webhook(receiver.url, allow_networks=[]), notices()[0]))
    assert receiver.received == []


# -- Apprise

OLD_MODULES = pytest.mark.filterwarnings(
    "ignore:.* is deprecated and slated for removal:DeprecationWarning"
)  # it loads


@OLD_MODULES
def test_apprise_carries_title_and_text() -> None:
    firing, resolved = notices()
    with Receiver() as receiver:
        url = f"json://127.0.0.1:{receiver.port}/"
        asyncio.run(tell(AppriseOutlet(AppriseConfig.model_validate({"url": url}), WORDS), firing, resolved))
    told = [json.loads(one.body) for one in receiver.received]
    assert [(one["title"], one["type"]) for one in told] == [
        ("[acme] FIRING: source erp: fails", "failure"),
        ("[acme] RESOLVED: source erp: fails", "success"),
    ]
    assert "legacy-bridge alarm ack" in told[0]["message"]


@OLD_MODULES
@pytest.mark.parametrize("url", ["nonsense", "json://127.0.0.1:1/"])
def test_a_service_that_does_not_take_it_is_unavailable(url: str) -> None:
    with pytest.raises(SinkUnavailable):
        asyncio.run(tell(AppriseOutlet(AppriseConfig.model_validate({"url": url}), WORDS), notices()[0]))


# -- Alertmanager


@pytest.fixture
def pager() -> Iterator[Receiver]:
    """Whom Alertmanager tells."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def alertmanager(tmp_path: Path, pager: Receiver) -> Iterator[str]:
    """The address of a running Alertmanager; without one, a failure in CI and a skip elsewhere."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no Alertmanager here; .ci/system-packages brings it")
        pytest.skip("no Alertmanager here; apt-get install prometheus-alertmanager")
    port, settings = free_port(), tmp_path / "alertmanager.yml"
    settings.write_text(
        "route: {receiver: pager, group_by: [alarm], group_wait: 0s, group_interval: 1s}\n"
        f"receivers: [{{name: pager, webhook_configs: [{{url: '{pager.url}', send_resolved: true}}]}}]\n"
    )
    options = [f"--config.file={settings}", f"--storage.path={tmp_path / 'data'}", "--cluster.listen-address="]
    log = (tmp_path / "alertmanager.log").open("w")
    running = subprocess.Popen([program, *options, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(port), why=(tmp_path / "alertmanager.log").read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(10)
        log.close()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def active(address: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{address}/api/v2/alerts?active=true", timeout=5) as answer:  # noqa: S310  our own
        found: list[dict[str, Any]] = json.load(answer)
        return found


def manager(address: str, **keys: Any) -> AlertmanagerOutlet:  # noqa: ANN401  of its configuration
    config = {"url": address, "allow_networks": LOCAL} | keys
    return AlertmanagerOutlet(AlertmanagerConfig.model_validate(config), WORDS)


def test_alertmanager_takes_what_fires_pages_and_hears_of_the_end(alertmanager: str, pager: Receiver) -> None:
    firing, resolved = notices()
    asyncio.run(tell(manager(alertmanager), firing))
    (alert,) = active(alertmanager)
    assert alert["labels"] == {
        "alertname": "BridgeComponent",
        "instance": "acme",
        "rule": "component",
        "subject": "source:erp",
        "severity": "critical",
        "alarm": firing.alarms[0].id,
    }
    assert alert["annotations"]["runbook_url"] == "https://docs.example/runbooks/component-failing.md"
    pager.wait_for(1)
    asyncio.run(tell(manager(alertmanager), resolved))
    wait_for(lambda: not active(alertmanager))
    wait_for(lambda: [json.loads(one.body)["status"] for one in pager.received] == ["firing", "resolved"])


def test_what_fires_for_long_is_one_alert_that_lives_on(alertmanager: str) -> None:
    firing, _ = notices()
    again = replace(firing.alarms[0], what="still down")

    async def repeat() -> None:
        outlet = manager(alertmanager, resend_s=15)
        await outlet.tell(firing)
        await outlet.refresh([again])
        await outlet.tell(replace(firing, transition="reminder"))
        await outlet.close()

    asyncio.run(repeat())
    (alert,) = active(alertmanager)
    assert alert["annotations"]["description"] == "still down"
    ends = datetime.fromisoformat(alert["endsAt"])
    assert timedelta(seconds=45) < ends - datetime.now(UTC) <= timedelta(seconds=60)


def test_alertmanager_takes_a_test(alertmanager: str) -> None:
    notice = Notice("test:1", "test", datetime.now(UTC), "test", ())
    asyncio.run(tell(manager(alertmanager), notice))
    assert [alert["labels"]["alertname"] for alert in active(alertmanager)] == ["BridgeTest"]


# -- a sign of life


def test_no_sign_of_life_is_given_while_the_loop_that_journals_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, stop, released, looks = MemoryJournal(), threading.Event(), threading.Event(), [0]
    stands_still = threading.Event()
    ingest = Ingest(journal, Handoff(), {}, board=HealthBoard(), metrics=Metrics(), desk=Desk(journal, {}), stop=stop)
    ingesting = threading.Thread(target=ingest.run)

    def alive() -> bool:
        looks[0] += 1
        return time.monotonic() - ingest.turned_at < 0.5

    def hang() -> int:
        stands_still.set()
        released.wait()
        return 0

    with Receiver() as service:
        config = HeartbeatConfig.model_validate({"url": service.url, "allow_networks": LOCAL})
        beat = Heartbeat(config)
        beat.every_s = 0.02
        telling = Telling(PROMPT, WORDS, {}, {"outside": beat})
        look = _sight
        alarms = Alarms(telling, journal, look, alive=alive, board=HealthBoard(), metrics=Metrics(), stop=stop)
        watching = threading.Thread(target=alarms.run)
        ingesting.start()
        watching.start()
        try:
            service.wait_for(3)
            assert {one.method for one in service.received} == {"GET"}
            with monkeypatch.context() as stuck:
                stuck.setattr(journal, "version", hang)
                assert stands_still.wait(DEADLINE_S)
                wait_for(lambda: not alive())
                before, asked = len(service.received), looks[0]
                wait_for(lambda: looks[0] > asked + 20)
                assert len(service.received) <= before + 1, "one may have been under way"
            released.set()
            service.wait_for(len(service.received) + 2)
        finally:
            released.set()
            stop.set()
            ingesting.join(10)
            watching.join(10)


def _sight() -> Sight:
    return Sight(at=datetime.now(UTC), run="first")
