"""Which adapter a configuration asks for, and what is missing for it."""

import base64
import sys
from pathlib import Path

import pytest
import structlog

from bridge import daemon
from bridge.config.load import load
from bridge.config.models import Config
from bridge.config.sinks import SinkConfig
from bridge.deliver.route import route_of
from bridge.errors import ConfigError
from bridge.routing import build_sink

SINKS = """
  hook: {webhook: {url: https://example.com/x, secrets: ["${env:HOOK}"]}}
  queue: {amqp: {url: "${env:HOOK}"}}
  lake: {parquet: {folder: lake}}
"""


def configured(folder: Path, sinks: str = SINKS) -> Config:
    (folder / "orders.odcs.yaml").touch()
    (folder / "bridge.yaml").write_text(
        "bridge: {name: acme, type_prefix: com.acme.erp}\n"
        "systems: {erp: {postgres: {host: db.example}}}\n"
        "streams: {orders: {system: erp, log: sales.oeordh, contract: orders.odcs.yaml}}\n"
        f"sinks: {sinks}\n"
    )
    return load(folder / "bridge.yaml", environ={"HOOK": f"whsec_{base64.b64encode(bytes(32)).decode()}"})


def test_every_kind_of_sink_is_built(tmp_path: Path) -> None:
    config = configured(tmp_path, f"{SINKS}  out: {{stdout: {{}}}}")
    built = {name: type(build_sink(config, name)).__name__ for name in config.sinks}
    assert built == {"hook": "WebhookSink", "queue": "AmqpSink", "lake": "ParquetSink", "out": "StdoutSink"}


def test_what_fails_here_is_tried_again_soon_and_for_ever_and_a_receiver_elsewhere_for_days(tmp_path: Path) -> None:
    config = configured(tmp_path, f"{SINKS}  out: {{stdout: {{}}}}")
    routes = {name: route_of(name, sink, {}) for name, sink in config.sinks.items()}
    assert {name: route.gives_up for name, route in routes.items()} == {
        "hook": True, "queue": True, "lake": False, "out": False
    }  # fmt: skip
    assert [routes[name].schedule.last_s() < 60 for name in ("lake", "out", "hook", "queue")] == [
        True,
        True,
        False,
        False,
    ]
    own = SinkConfig.model_validate({"stdout": {}, "retry": {"after_s": [7200]}})
    assert route_of("out", own, {}).schedule.last_s() > 3600


def test_a_broker_without_its_client_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bridge.sinks.amqp", raising=False)
    monkeypatch.setitem(sys.modules, "aio_pika", None)
    with pytest.raises(ConfigError, match="aio_pika is not installed") as caught:
        build_sink(configured(tmp_path), "queue")
    assert "legacy-bridge[amqp]" in caught.value.hint


@pytest.mark.parametrize(("sinks", "place"), [("{out: {stdout: {}}}", "err"), ("{}", "out")])
def test_the_log_leaves_standard_output_to_a_sink(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sinks: str, place: str
) -> None:
    daemon._configure_log(configured(tmp_path, sinks))
    structlog.get_logger().info("daemon.started")
    assert "daemon.started" in getattr(capsys.readouterr(), place)
    structlog.reset_defaults()
