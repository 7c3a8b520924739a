"""A configuration file becomes a Config whole, or one error that names every mistake."""

import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config.load import load
from bridge.config.mistakes import InvalidConfig
from bridge.config.models import Config, PostgresConfig
from bridge.errors import ConfigError
from bridge.model import system_of

GOOD = """\
bridge:
  name: acme
  type_prefix: com.acme.erp
systems:
  erp:
    postgres: {host: db.acme.example, user: bridge_ro}
streams:
  orders: {system: erp, log: sales.oeordh, contract: orders.odcs.yaml}
"""


def read(
    folder: Path, text: str = GOOD, environ: Mapping[str, str] | None = None, *, require_references: bool = True
) -> Config:
    """Write a file and load it, with a contract beside it."""
    (folder / "orders.odcs.yaml").touch()
    (folder / "bridge.yaml").write_text(text)
    return load(folder / "bridge.yaml", environ=environ or {}, require_references=require_references)


def mistakes(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The mistakes found, by key."""
    with pytest.raises(InvalidConfig) as caught:
        read(folder, text, environ)
    return {mistake.key: str(mistake) for mistake in caught.value.mistakes}


def test_a_short_file_gets_every_default(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert config.bridge.http.port == 8079
    assert config.systems["erp"].budget.connections == 3
    assert config.streams["orders"].on_reject == "pass"
    assert server(config).port is None, "libpq's PGPORT acts where nothing is said"


def test_paths_are_relative_to_the_file_not_to_the_working_folder(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert config.bridge.journal.sqlite == tmp_path / "var/journal.db"
    assert config.streams["orders"].contract == tmp_path / "orders.odcs.yaml"


def server(config: Config) -> PostgresConfig:
    """The PostgreSQL server of the system erp."""
    found = config.systems["erp"].postgres
    assert found is not None
    return found


def test_the_reference_deployment_is_valid() -> None:
    root = Path(__file__).parents[2]
    config = load(root / "bridge.yaml", environ={})
    assert config.streams_of("erp") == config.streams
    assert {stream.log for stream in config.streams.values()} >= {"sales.oeordh", "sales.aptrx"}


def test_every_mistake_is_reported_at_once_with_file_line_value_and_hint(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        """\
bridge:
  name: acme
  type_prefix: com.acme.erp
  http: {port: 99999}
systems:
  erp:
    postgres: {}
    time_zone: America/Chicgo
streams:
  orders: {system: ero, log: oeordh, contract: nowhere.yaml, on_reject: hodl}
sink: {}
""",
    )
    file = tmp_path / "bridge.yaml"
    assert found["bridge.http.port"].startswith(f"{file}:4: bridge.http.port is 99999; expected")
    assert found["systems.erp.time_zone"].startswith(f'{file}:8: systems.erp.time_zone is "America/Chicgo"; expected')
    assert "did you mean erp?" in found["streams.orders.system"]
    assert "schema.table" in found["streams.orders.log"]
    assert "a file that exists" in found["streams.orders.contract"]
    assert found["streams.orders.on_reject"].endswith("expected 'pass' or 'hold' (did you mean hold?)")
    assert found["sink"].startswith(f"{file}:11: sink is not a known key")
    assert len(found) == 7


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("name: acme", "nam: acme", "bridge.nam"),
        ("name: acme", "nam: acme", "bridge.name"),
        ("name: acme", "name: Acme", "bridge.name"),
        ("name: acme", "name:", "bridge.name"),
        ("com.acme.erp", "com..erp", "bridge.type_prefix"),
        ("name: acme", "name: acme\n  http: {port: true}", "bridge.http.port"),
        ("name: acme", "name: acme\n  http: {host: 0.0.0.0}", "bridge.http"),
        ("name: acme", "name: acme\n  retain: {days: .inf}", "bridge.retain.days"),
        ("name: acme", "name: acme\n  log: loud", "bridge.log"),
        ("  erp:", "  ERP:", "systems.ERP"),
        ("user: bridge_ro}", "user: bridge_ro}\n    time_zone: America", "systems.erp.time_zone"),
        ("user: bridge_ro}", "user: bridge_ro}\n    time_zone: ../../etc/passwd", "systems.erp.time_zone"),
        ("user: bridge_ro}", "user: bridge_ro}\n    time_zone: ''", "systems.erp.time_zone"),
        ("user: bridge_ro", "publication: x, insert_publication: x", "systems.erp.postgres"),
        ("user: bridge_ro", "sslrootcert: nowhere.pem", "systems.erp.postgres.sslrootcert"),
        ("user: bridge_ro", "slot: Legacy-Bridge", "systems.erp.postgres.slot"),
        ("user: bridge_ro", "heartbeat_s: -1", "systems.erp.postgres.heartbeat_s"),
        ("sales.oeordh", "erp.sales.oeordh", "streams.orders.log"),
        ("sales.oeordh", "sales.oeordh, view: v.sql", "streams.orders.view"),
        ("sales.oeordh", '"sales.o\\nx"', "streams.orders.log"),
        ("  orders:", "  a:b:", "streams.a:b"),
        ("system: erp", "system: [erp]", "streams.orders.system"),
        (GOOD.partition("streams:")[2], " {}\n", "streams"),
    ],
)
def test_a_wrong_key_or_value_is_a_mistake_under_its_own_name(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert key in mistakes(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("alarms", "key"),
    [
        ("streams: {order: {silent_after_s: 60}}", "alarms.streams.order"),
        ("sinks: {crm: {off: [breaker_open]}}", "alarms.sinks.crm"),
        ("systems: {erp: {off: [everything]}}", "alarms.systems.erp.off.0"),
        ("outlets: {ops: {}}", "alarms.outlets.ops"),
        ("outlets: {ops: {heartbeat: {url: a}, apprise: {url: a}}}", "alarms.outlets.ops"),
        ("maintenance: {night: {hours: '22-02'}}", "alarms.maintenance.night.hours"),
        ("maintenance: {night: {hours: '22:00-24:30'}}", "alarms.maintenance.night.hours"),
        ("maintenance: {move: {starts: 2026-12-01T20:00:00Z}}", "alarms.maintenance.move"),
        ("maintenance: {move: {starts: 2026-12-01T20:00:00Z, ends: 2026-12-01T20:00:00Z}}", "alarms.maintenance.move"),
        ("maintenance: {move: {hours: '22:00-02:00', of: [orders]}}", "alarms.maintenance.move.of"),
        ("rules: {failure_rate: {long_s: 60}}", "alarms.rules.failure_rate"),
    ],
)
def test_a_wrong_alarm_is_a_mistake_under_its_own_name(tmp_path: Path, alarms: str, key: str) -> None:
    assert list(mistakes(tmp_path, f"{GOOD}alarms: {{{alarms}}}")) == [key]


OIDC = "  http: {oidc: {issuer: 'https://id.example', audience: bridge}}\n"


@pytest.mark.parametrize(
    ("principals", "key"),
    [
        ("crm: {streams: [ordres]}", "principals.crm.streams.0"),
        ("crm: {streams: ['*'], acts: [write]}", "principals.crm.acts.0"),
        ("crm: {release: ['']}", "principals.crm.release.0"),
        ("crm: {release: ['restricted, internal']}", "principals.crm.release.0"),
        ("crm: {subject: a}\n  web: {subject: a}", "principals.web.subject"),
        ("crm: {requests_per_minute: 0}", "principals.crm.requests_per_minute"),
    ],
)
def test_a_wrong_principal_is_a_mistake_under_its_own_name(tmp_path: Path, principals: str, key: str) -> None:
    text = GOOD.replace("systems:", f"{OIDC}systems:") + f"principals:\n  {principals}\n"
    assert list(mistakes(tmp_path, text)) == [key]


def test_a_subject_needs_an_issuer_and_an_issuer_tls(tmp_path: Path) -> None:
    """Plain http only where the network was listed."""
    (found,) = mistakes(tmp_path, f"{GOOD}principals:\n  crm: {{subject: a}}\n").items()
    assert found[0] == "principals.crm.subject"
    plain = GOOD.replace("systems:", f"{OIDC}systems:").replace("https:", "http:")
    assert list(mistakes(tmp_path, plain)) == ["bridge.http.oidc"]
    listed = plain.replace("audience: bridge", "audience: bridge, allow_networks: [127.0.0.0/8]")
    assert read(tmp_path, listed).bridge.http.oidc is not None


@pytest.mark.parametrize(
    ("http", "principals", "is_warned"),
    [
        ("host: 10.0.0.7, expose: true", "{crm: {}}", True),
        ("host: 10.0.0.7, expose: true, public_url: 'https://bridge.example'", "{crm: {}}", False),
        ("host: 10.0.0.7, expose: true", "{}", False),
        ("host: 127.0.0.1", "{crm: {}}", False),
    ],
)
def test_keys_in_plain_text_are_warned_of(tmp_path: Path, http: str, principals: str, *, is_warned: bool) -> None:
    text = GOOD.replace("systems:", f"  http: {{{http}}}\nsystems:") + f"principals: {principals}\n"
    assert ["bridge.http.host" in warning for warning in read(tmp_path, text).warnings] == [True] * is_warned


def test_two_streams_may_not_read_one_table_of_one_system(tmp_path: Path) -> None:
    text = GOOD + "  again: {system: erp, log: sales.oeordh, contract: orders.odcs.yaml}\n"
    assert "unlike orders" in mistakes(tmp_path, text)["streams.again.log"]
    other = text.replace("streams:", "  wms:\n    postgres: {}\nstreams:").replace(
        "again: {system: erp", "a: {system: wms"
    )
    assert set(read(tmp_path, other).streams) == {"orders", "a"}


def test_pages_without_login_leave_the_machine_only_when_signed_for(tmp_path: Path) -> None:
    exposed = GOOD.replace("name: acme", "name: acme\n  http: {host: 0.0.0.0, expose: true}")
    assert read(tmp_path, exposed).bridge.http.host == "0.0.0.0"  # noqa: S104
    for host in ("localhost", "::1", "127.0.0.7"):
        loopback = GOOD.replace("name: acme", f'name: acme\n  http: {{host: "{host}"}}')
        assert read(tmp_path, loopback).bridge.http.host == host


def test_environment_variables_override_keys(tmp_path: Path) -> None:
    environ = {
        "BRIDGE_HTTP__PORT": "0",
        "BRIDGE_SYSTEMS__ERP__POSTGRES__HOST": "other.example",
        "BRIDGE_SYSTEMS__ERP__ALLOW": "public_temp, public_create",
        "BRIDGE_STREAMS__ORDER_LINES__ON_REJECT": "hold",
    }
    text = GOOD + "  order-lines: {system: erp, log: sales.oeordd, contract: orders.odcs.yaml}\n"
    config = read(tmp_path, text, environ)
    assert config.bridge.http.port == 0
    assert server(config).host == "other.example"
    assert config.systems["erp"].allow == ("public_temp", "public_create")
    assert config.streams["order-lines"].on_reject == "hold"


def test_a_wrong_variable_is_named_and_a_foreign_one_is_left_alone(tmp_path: Path) -> None:
    found = mistakes(tmp_path, GOOD, {"BRIDGE_HTTP__PORTT": "1", "BRIDGE_LOG__LEVEL": "loud"})
    assert found["bridge.http.portt"].startswith("$BRIDGE_HTTP__PORTT: ")
    assert found["bridge.log.level"].startswith('$BRIDGE_LOG__LEVEL: bridge.log.level is "loud"')
    kubernetes = {"BRIDGE_SERVICE_HOST": "10.0.0.1", "BRIDGE_PORT_8079_TCP": "tcp://10.0.0.1:8079", "BRIDGE_": ""}
    assert read(tmp_path, GOOD, kubernetes).digest == read(tmp_path).digest


def test_plain_values_take_environment_references_only(tmp_path: Path) -> None:
    text = GOOD.replace("db.acme.example", '"${env:ERP}.example", port: "${env:PORT}"')
    postgres = server(read(tmp_path, text, {"ERP": "db", "PORT": "5433"}))
    assert (postgres.host, postgres.port) == ("db.example", 5433)
    assert "the environment variable is not set" in mistakes(tmp_path, text)["systems.erp.postgres.host"]
    (tmp_path / "pw").write_text("canary-in-a-file")
    found = mistakes(tmp_path, GOOD.replace("db.acme.example", "${file:pw}"))["systems.erp.postgres.host"]
    assert "for secrets only" in found
    assert "canary" not in found


def test_a_reference_needs_no_quotes_inside_braces(tmp_path: Path) -> None:
    text = GOOD.replace("host: db.acme.example", "host: ${env:ERP}, passfile: system, password: ${file:pw}")
    (tmp_path / "pw").write_text("a")
    postgres = server(read(tmp_path, text, {"ERP": "db"}))
    assert (postgres.host, postgres.password and postgres.password.reveal()) == ("db", "a")


def test_a_reference_that_leads_nowhere_stops_the_daemon_but_not_a_reader_of_the_journal(tmp_path: Path) -> None:
    text = GOOD.replace("db.acme.example", '"${env:ERP}", password: "${file:/nowhere/pw}"')
    found = mistakes(tmp_path, text)
    assert f"{tmp_path}/bridge.yaml:6" in found["systems.erp.postgres.password"]
    assert "No such file" in found["systems.erp.postgres.password"]
    assert server(read(tmp_path, text, require_references=False)).host is None


def test_careless_secrets_are_warned_of_without_being_told(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("canary-1")
    (tmp_path / "pw").chmod(0o644)
    config = read(tmp_path, GOOD.replace("user: bridge_ro", "password: '${file:pw}'"))
    assert "can be read by every user" in config.warnings[0]
    assert f"{tmp_path}/bridge.yaml:6" in config.warnings[0]
    (tmp_path / "pw").chmod(0o600)
    assert read(tmp_path, GOOD.replace("user: bridge_ro", "password: '${file:pw}'")).warnings == ()
    written_out = read(tmp_path, GOOD.replace("user: bridge_ro", "password: canary-2"))
    assert "written out" in written_out.warnings[0]
    assert "canary" not in repr((config, written_out, config.warnings, written_out.warnings))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("user: bridge_ro", "pasword: canary"),  # unknown keys may be misspelt secrets
        ("user: bridge_ro", "password: [canary]"),
        ("user: bridge_ro", "database: [canary]"),
        ("user: bridge_ro", "password: {a: canary}"),
        ("{host: db.acme.example, user: bridge_ro}", "postgres://bridge:canary@db/erp"),
        ("user: bridge_ro", "sslmode: 'password=canary'"),
        ("user: bridge_ro", "slot: 'postgres://bridge:canary@db/erp'"),
        ("streams:", "secrets: canary\nstreams:"),
        ("streams:", "streams: canary\nstreams:"),
        ("user: bridge_ro", "password: canary: canary"),
        ("user: bridge_ro", 'password: "canary\\q"'),
    ],
)
def test_an_error_never_repeats_what_may_be_a_secret(tmp_path: Path, old: str, new: str) -> None:
    """S2."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    chain = [caught.value, caught.value.__context__ if not caught.value.__suppress_context__ else None]
    assert "canary" not in " ".join(f"{error!s} {error!r}" for error in chain)


def test_a_secret_that_looks_like_a_number_is_not_repeated(tmp_path: Path) -> None:
    """S2: YAML reads an unquoted 4711 as a number, which is no text."""
    found = mistakes(tmp_path, GOOD.replace("user: bridge_ro", "password: 4711"))
    assert "4711" not in found["systems.erp.postgres.password"]


def test_a_key_is_wrong_for_one_reason(tmp_path: Path) -> None:
    found = mistakes(tmp_path, GOOD.replace("system: erp", "system: ${env:NOWHERE}"))
    assert list(found) == ["streams.orders.system"]
    assert "the environment variable is not set" in found["streams.orders.system"]


def test_a_value_of_a_variable_stays_out_of_errors(tmp_path: Path) -> None:
    """S2: a misplaced ``${env:...}`` is shown as written, not resolved."""
    text = GOOD.replace("user: bridge_ro", "port: '${env:PGPASSWORD}'")
    found = mistakes(tmp_path, text, {"PGPASSWORD": "canary"})["systems.erp.postgres.port"]
    assert "canary" not in found
    assert "${env:PGPASSWORD}" in found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "bridge: {name: acme",
        "bridge: !!python/object/apply:os.system ['true']\n",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        f"{'k' * 10_000_000}: 1\n",
        "bridge:\n  name: a\n  name: b\n",
    ],
    ids=["empty", "list", "broken", "python-tag", "billion-laughs", "10-MB-key", "twice"],
)
def test_a_hostile_or_broken_file_is_refused_quickly_and_cheaply(tmp_path: Path, text: str) -> None:
    """S7, H4: 1 s of the processor and 50 MB; the error names the file."""
    path = tmp_path / "bridge.yaml"
    path.write_text(text)
    before_kb, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ConfigError, match=str(path)):
        load(path, environ={})
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50 * 1024


def test_the_digest_changes_with_any_value_and_with_nothing_else(tmp_path: Path) -> None:
    first = read(tmp_path)
    data: dict[str, Any] = yaml.safe_load(GOOD)
    spelt_out = yaml.safe_dump(data | {"bridge": data["bridge"] | {"http": {"port": 8079}}})
    assert read(tmp_path, spelt_out).digest == first.digest
    assert read(tmp_path, GOOD.replace("bridge_ro", "bridge_rw")).digest != first.digest


def test_the_process_environment_is_used_when_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_NAME", "from-the-environment")
    read(tmp_path)
    assert load(tmp_path / "bridge.yaml").bridge.name == os.environ["BRIDGE_NAME"]


SENT_TO_US = """\
bridge:
  name: acme
  type_prefix: com.acme.erp
systems:
  shop:
    webhook: {{standard: {{secrets: ["${{env:HOOK}}"]}}}}
  mq:
    amqp: {{url: "${{env:HOOK}}"}}
streams:
  orders: {{system: shop, webhook: orders, contract: orders.odcs.yaml}}
  stock: {{system: mq, queue: stock, contract: orders.odcs.yaml}}
  {more}
"""


def test_systems_that_send_to_us_are_read(tmp_path: Path) -> None:
    config = read(tmp_path, SENT_TO_US.format(more=""), {"HOOK": "whsec_x"})
    webhook = config.systems["shop"].webhook
    assert webhook is not None
    assert webhook.way == "standard"
    assert webhook.remember_hours == 72
    assert config.streams["orders"].origin == "orders"
    assert config.systems_of("amqp") == ["mq"]


@pytest.mark.parametrize(
    ("more", "key", "expected"),
    [
        (
            "more: {system: shop, log: a.b, contract: orders.odcs.yaml}",
            "streams.more.log",
            "`webhook`: shop is webhook",
        ),
        ("more: {system: mq, webhook: a, contract: orders.odcs.yaml}", "streams.more.webhook", "`queue`: mq is amqp"),
        ("more: {system: shop, webhook: orders, contract: orders.odcs.yaml}", "streams.more.webhook", "unlike orders"),
        ("more: {system: mq, queue: stock, contract: orders.odcs.yaml}", "streams.more.queue", "unlike stock"),
        ("more: {system: shop, webhook: ../x, contract: orders.odcs.yaml}", "streams.more.webhook", "a path like"),
        (
            "more: {system: shop, resource: {path: /a, key: [id]}, contract: orders.odcs.yaml}",
            "streams.more.resource",
            "`webhook`: shop is webhook",
        ),
    ],
)
def test_a_stream_comes_in_the_way_its_system_is_read_and_by_an_origin_of_its_own(
    tmp_path: Path, more: str, key: str, expected: str
) -> None:
    found = mistakes(tmp_path, SENT_TO_US.format(more=more), {"HOOK": "whsec_x"})
    assert expected in found[key]
    assert "bridge.yaml:12" in found[key]


def test_requests_are_verified_in_exactly_one_way(tmp_path: Path) -> None:
    for ways in ("{}", '{github: {secrets: ["a"]}, basic: {user: u, password: "${env:HOOK}"}}'):
        text = SENT_TO_US.format(more="").replace('{standard: {secrets: ["${env:HOOK}"]}}', ways)
        assert "exactly one of standard, github, stripe, basic" in str(mistakes(tmp_path, text, {"HOOK": "x"}))


API = """
bridge: {name: b, type_prefix: com.example}
systems: {crm: {rest: {url: https://crm.example/api, headers: {x-api-key: "${env:KEY}"}}}}
streams:
  orders: {system: crm, resource: {path: /orders, key: [id]}, contract: orders.odcs.yaml, every: 5m}
  also: {system: crm, resource: {path: /orders, key: [id], parameters: {state: open}}, contract: orders.odcs.yaml}
"""


def test_an_api_is_read_by_resources(tmp_path: Path) -> None:
    found = read(tmp_path, API, {"KEY": "k"})
    assert {name: stream.origin for name, stream in found.streams.items()} == {"orders": "/orders", "also": "/orders"}


def test_a_secret_in_a_header_is_a_reference_read_when_it_is_used(tmp_path: Path) -> None:
    environ = {"KEY": "k3y of the API"}
    rest = read(tmp_path, API, environ).systems["crm"].rest
    assert rest is not None
    secret = rest.headers["x-api-key"]
    assert (secret.reference, str(secret)) == ("${env:KEY}", "***")
    written = API.replace("${env:KEY}", "k3y in the file")
    assert "systems.crm.rest.headers.x-api-key is written out" in read(tmp_path, written).warnings[0]
    assert "k3y" not in repr(read(tmp_path, written))
    assert "cannot be resolved" in mistakes(tmp_path, API)["systems.crm.rest.headers.x-api-key"]
    wrong = API.replace('{x-api-key: "${env:KEY}"}', "{x api key: k3y in the file}")
    assert "k3y" not in str(mistakes(tmp_path, wrong))


def test_standard_output_and_a_folder_belong_to_one_sink(tmp_path: Path) -> None:
    sinks = "sinks: {a: {stdout: {}}, b: {parquet: {folder: lake}}, c: {stdout: {}}, d: {parquet: {folder: ./lake/}}}"
    found = mistakes(tmp_path, GOOD + sinks)
    assert found.keys() == {"sinks.c.stdout", "sinks.d.parquet.folder"}
    assert "that is a" in found["sinks.c.stdout"]
    assert "unlike b" in found["sinks.d.parquet.folder"]


def test_a_routing_key_knows_three_words(tmp_path: Path) -> None:
    sinks = "sinks: {mq: {amqp: {url: 'amqps://mq.example', routing_key: 'erp.{stream}.{tpye}'}}}"
    assert "{stream}, {type} and {key}" in mistakes(tmp_path, GOOD + sinks)["sinks.mq.amqp.routing_key"]


def test_a_system_is_read_by_log_and_by_view_and_several_streams_may_read_one_view(tmp_path: Path) -> None:
    (tmp_path / "open.sql").touch()
    more = "".join(
        f"  {name}: {{system: erp, view: open.sql, parameters: {{region: {name}}}, contract: orders.odcs.yaml}}\n"
        for name in ("eu", "us")
    )
    config = read(tmp_path, GOOD + more)
    assert list(config.streams_of("erp", "view")) == ["eu", "us"]
    assert list(config.streams_of("erp", "log")) == ["orders"]
    names = {name: list(streams) for name, streams in config.sources_of("erp").items()}
    assert names == {"erp": ["orders"], "erp/views": ["eu", "us"]}
    assert {system_of(name) for name in names} == {"erp"}
    only = read(tmp_path, GOOD.replace("log: sales.oeordh", "view: open.sql"))
    assert {name: list(streams) for name, streams in only.sources_of("erp").items()} == {"erp": ["orders"]}
    assert config.streams["us"].view == tmp_path / "open.sql"
    assert config.streams["us"].parameters == {"region": "us"}


def test_a_view_file_must_exist_and_parameters_need_a_view(tmp_path: Path) -> None:
    gone = "  gone: {system: erp, view: gone.sql, contract: orders.odcs.yaml}\n"
    assert "expected a file that exists" in mistakes(tmp_path, GOOD + gone)["streams.gone.view"]
    loose = GOOD.replace("log: sales.oeordh", "log: sales.oeordh, parameters: {a: 1}")
    assert "expected `view` beside `parameters`" in mistakes(tmp_path, loose)["streams.orders"]


def test_files_have_no_schedule_and_only_files_have_a_mode(tmp_path: Path) -> None:
    (tmp_path / "orders.yaml").touch()
    files = GOOD.replace("log: sales.oeordh", 'file: "*.DAT", layout: orders.yaml, every: 5m')
    assert "what is polled has a schedule" in " ".join(mistakes(tmp_path, files).values())
    logged = GOOD.replace("log: sales.oeordh", "log: sales.oeordh, mode: full")
    assert "`file` beside `mode`" in " ".join(mistakes(tmp_path, logged).values())
