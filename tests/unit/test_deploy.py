"""What we ship for Prometheus and Grafana: it loads, it fires, and it names only what there is."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from bridge.latency import Latencies
from bridge.metrics import Metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RULES = yaml.safe_load((PROMETHEUS / "legacy-bridge.rules.yml").read_text())["groups"][0]["rules"]
RUNBOOKS = "https://github.com/legacy-bridge/legacy-bridge/blob/main/"


def known() -> dict[str, set[str]]:
    """Every series that a bridge shows, with its labels."""
    metrics, found = Metrics(), {"process_resident_memory_bytes": set[str]()}
    for collector in metrics._plain._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(
                collector._type or "", ("",)
            )
            found |= {f"{collector._name}{suffix}": set(collector._labelnames) for suffix in suffixes}
    return found | {f"{Latencies.name}{suffix}": set(Latencies.labels) for suffix in ("_bucket", "_sum", "_count")}


def strangers(expression: str) -> set[str]:
    """Metrics and labels of an expression that no bridge shows."""
    there, unknown = known(), set()
    for name, selector in re.findall(r"\b((?:bridge|process|python)_\w+)(?:\{([^}]*)\})?", expression):
        if name not in there:
            unknown.add(name)
            continue
        used = set(re.findall(r"(\w+)\s*[!=]", re.sub(r'"[^"]*"', '""', selector)))
        unknown |= {f"{name}{{{label}}}" for label in used - there[name] - {"instance", "job", "le"}}
    return unknown


def expressions(dashboard: dict[str, Any]) -> list[str]:
    """Everything that a dashboard asks for."""
    queries = [each["definition"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    return queries + [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not installed")
        pytest.skip("promtool is not installed")
    return subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)


def test_the_rules_load() -> None:
    done = promtool("check", "rules", "legacy-bridge.rules.yml")
    assert done.returncode == 0, done.stderr + done.stdout


def test_each_rule_fires_on_what_it_is_for_and_stays_quiet_beside_it() -> None:
    done = promtool("test", "rules", "legacy-bridge.test.yml")
    assert done.returncode == 0, done.stderr + done.stdout


def test_each_rule_is_tested() -> None:
    tested = re.findall(r"alertname: (\w+)", (PROMETHEUS / "legacy-bridge.test.yml").read_text())
    assert {rule["alert"] for rule in RULES} == set(tested)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_there_is_and_leads_to_its_page(rule: dict[str, Any]) -> None:
    assert strangers(rule["expr"]) == set()
    page = rule["annotations"]["runbook_url"].removeprefix(RUNBOOKS)
    assert re.fullmatch(r"docs/runbooks/[a-z-]+\.md", page)
    assert (ROOT / page).is_file()
    assert rule["labels"]["severity"] in ("warning", "critical")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_what_there_is(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    asked = expressions(dashboard)
    assert len(asked) > 10
    assert set().union(*map(strangers, asked)) == set()
    assert dashboard["uid"] == f"legacy-bridge-{path.stem}"
    assert dashboard["tags"] == ["legacy-bridge"]
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${DS}"}
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_metric_of_ours_is_on_a_dashboard() -> None:
    shown = " ".join(query for path in DASHBOARDS for query in expressions(json.loads(path.read_text())))
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known() if name.startswith("bridge_")}
    assert {name for name in bare if name not in shown} == set()


def test_what_is_not_there_is_found() -> None:
    assert strangers('rate(bridge_gone_total[5m]) / bridge_dead_letters{stream="a", sink=~"b"}') == {
        "bridge_gone_total",
        "bridge_dead_letters{sink}",
    }


def test_grafana_is_told_where_the_dashboards_are() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    providers = yaml.safe_load((folder / "dashboards" / "legacy-bridge.yml").read_text())["providers"]
    assert [provider["type"] for provider in providers] == ["file"]
    sources = yaml.safe_load((folder / "datasources" / "legacy-bridge.yml").read_text())["datasources"]
    assert [source["type"] for source in sources] == ["prometheus"]
