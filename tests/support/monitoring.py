"""Alert rules and dashboards as tests ask about them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
ALERT_TESTS = DEPLOY / "prometheus" / "alerts_test.yaml"
CONFIGURATION = DEPLOY / "prometheus" / "prometheus.yaml"
DASHBOARDS = tuple(sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")))
_CHOSEN = {"$__rate_interval": "10s", "$namespace": ".*", "$job": ".*", "$chain": ".*"}
_ENDS = re.compile(r"_(total|bucket|sum|count)$")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in DASHBOARDS]


def panel_queries() -> Iterator[tuple[str, str]]:
    """(title, query) of each panel, with everything chosen."""
    for document in dashboards():
        for panel in document["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"]
                for variable, value in _CHOSEN.items():
                    query = query.replace(variable, value)
                yield panel["title"], query


def families(query: str) -> set[str]:
    """The metrics of ours that a query names, without the ends of counters and histograms."""
    return {_ENDS.sub("", name) for name in re.findall(r"corechain_\w+", query)}
