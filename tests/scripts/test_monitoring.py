"""What Prometheus and Grafana are given, without either: `make test-prometheus` runs them.

given the alert rules
  the file for one host says what the manifest says
  each alert has a test that it fires and one that it stays quiet
  each asks for metrics that there are, and has its page
given the scrape configuration of one host
  its jobs are the services of compose.yaml, at their ports
given the dashboards
  they are what the panels say, by the rules of Grafana's schema 39
  Grafana's own models read them, and lose nothing
  each query names metrics that there are, and heeds the variables
"""

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.loading import loaded
from support.monitoring import (
    ALERT_TESTS,
    CONFIGURATION,
    DASHBOARDS,
    DEPLOY,
    alerts,
    dashboards,
    families,
)

from corechain_indexer.metrics import Metrics as IndexerMetrics
from corechain_relayer.bridge.metrics import Metrics as BridgeMetrics
from corechain_relayer.metrics import Metrics as RelayerMetrics

COLUMNS = 24
RUNBOOKS = DEPLOY.parent / "docs" / "operators" / "alerts.md"


@pytest.mark.parametrize("tool", ["alert_rules", "dashboards"])
def test_what_is_written_follows_from_its_source(
    tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(DEPLOY.parent / "tools")
    monkeypatch.setattr("sys.argv", [tool, "--check"])
    assert loaded(f"tools/{tool}.py").main() == 0


def test_a_changed_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = loaded("tools/alert_rules.py")
    monkeypatch.setattr("sys.argv", ["alert_rules", "--check"])
    monkeypatch.setattr(tool, "RULES", CONFIGURATION)
    assert tool.main() == 1


def test_each_alert_is_tested_both_ways() -> None:
    tests = [
        one
        for group in yaml.safe_load(ALERT_TESTS.read_text())["tests"]
        for one in group["alert_rule_test"]
    ]
    fires = Counter(one["alertname"] for one in tests if one["exp_alerts"])
    quiet = Counter(one["alertname"] for one in tests if not one["exp_alerts"])
    assert fires.keys() == quiet.keys() == {rule["alert"] for rule in alerts()}


def test_each_service_of_compose_is_scraped_at_its_port() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours = {name for name, one in services.items() if one.get("command", [""])[1:2] == ["run"]}
    jobs = yaml.safe_load(CONFIGURATION.read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == ours
    for job in jobs:
        (one,) = job["static_configs"]
        environment = services[job["job_name"]]["environment"]
        (port,) = [environment[name] for name in environment if name.endswith("_OPS_PORT")]
        assert one["targets"] == [f"{job['job_name']}:{port}"]
        assert one["labels"].keys() == {"namespace", "chain", "pod"}


def test_dashboards_keep_the_rules_of_the_schema() -> None:
    assert len({one["uid"] for one in dashboards()}) == len(DASHBOARDS) == 2
    for document in dashboards():
        assert document["schemaVersion"] == 39
        assert re.fullmatch(r"[a-z-]{1,40}", document["uid"])
        panels = document["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= COLUMNS
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not taken & cells, f"{panel['title']} lies on another panel"
            taken |= cells
            letters = [target["refId"] for target in panel.get("targets", ())]
            assert letters == sorted(set(letters))


def lost(given: Any, read: Any, place: str = "") -> list[str]:
    """What of a document is not in another one, or is another value there. More may be there."""
    if isinstance(given, dict) and isinstance(read, dict):
        gone = [f"{place}/{key}" for key in given.keys() - read.keys()]
        shared = given.keys() & read.keys()
        return gone + [
            one for key in shared for one in lost(given[key], read[key], f"{place}/{key}")
        ]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        pairs = enumerate(zip(given, read, strict=True))
        return [one for n, (a, b) in pairs for one in lost(a, b, f"{place}/{n}")]
    return [] if given == read else [place]


def read_by_grafana(document: dict[str, Any]) -> Any:
    """Through the models of Grafana's SDK, which keep nothing that they do not know."""
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(document)))


def test_grafanas_own_models_read_each_dashboard_and_lose_nothing() -> None:
    for document in dashboards():
        assert lost(document, read_by_grafana(document)) == []
    first = document["panels"][1] | {"titel": "", "gridPos": {"h": 1, "w": 1, "x": 0, "top": 0}}
    wrong = document | {"panels": [first], "refreshes": "1m"}
    found = lost(wrong, read_by_grafana(wrong))
    assert sorted(found) == ["/panels/0/gridPos/top", "/panels/0/titel", "/refreshes"]


def test_each_panel_asks_for_metrics_that_there_are_and_heeds_the_variables() -> None:
    registries = [RelayerMetrics().registry, IndexerMetrics().registry, BridgeMetrics().registry]
    known = {family.name for registry in registries for family in registry.collect()}
    for document in dashboards():
        variables = {one["name"] for one in document["templating"]["list"]}
        assert variables == {"datasource", "namespace", "job", "chain"}
        for panel in document["panels"]:
            assert panel["type"] == "row" or panel["targets"], panel["title"]
            for target in panel.get("targets", ()):
                query = target["expr"]
                assert target["datasource"]["uid"] == "${datasource}"
                assert families(query) <= known, query
                selectors = re.findall(r"\{(.*?)\}", query)
                heeding = [one for one in selectors if 'job=~"$job", chain=~"$chain"' in one]
                assert len(heeding) == len(selectors) or "ALERTS" in query, query


def test_the_dashboards_are_in_the_config_map() -> None:
    files = yaml.safe_load((DEPLOY / "grafana" / "kustomization.yaml").read_text())
    (made,) = files["configMapGenerator"]
    assert made["files"] == [f"dashboards/{path.name}" for path in DASHBOARDS]
    # A ConfigMap holds a mebibyte at most.
    assert sum(len(json.dumps(one)) for one in dashboards()) < 1 << 20


def test_each_alert_asks_for_metrics_that_there_are() -> None:
    registries = [RelayerMetrics().registry, IndexerMetrics().registry, BridgeMetrics().registry]
    families = [family for registry in registries for family in registry.collect()]
    ends = ("", "_total", "_bucket", "_sum", "_count")
    known = {family.name + end for family in families for end in ends}
    for alert in alerts():
        asked = set(re.findall(r"corechain_\w+", alert["expr"]))
        assert asked, alert["alert"]
        assert asked <= known, alert["alert"]


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    page = RUNBOOKS.read_text()
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        anchor = f"docs/operators/alerts.md#{alert['alert'].lower()}"
        assert alert["annotations"]["runbook"] == anchor
