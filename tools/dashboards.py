"""deploy/grafana/dashboards/*.json, from the panels of tools/panels.py.

`--check` fails when a file is not what the panels say. Run by `make alerts`. The JSON is of
schema version 39 (Grafana 10.4 and newer, which migrate older ones by themselves): each panel has
an id of its own, a place of 24 columns, a data source by variable, and queries named A, B, ….
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from panels import DASHBOARDS, SELECTED, Panel, Row

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboards"
SCHEMA_VERSION = 39
COLUMNS, HEIGHT, STAT_HEIGHT = 24, 8, 4
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What every process of ours has: the variables find all of them, and nothing else.
PRESENT = '{__name__=~"corechain_native|corechain_bridge_queue_reports"}'
VARIABLES = ("namespace", "job", "chain")


def query_variable(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({PRESENT}, {name})", "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        # Not a list of the values: a label that nobody set is matched, too.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }


def variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}
    return [source, *map(query_variable, VARIABLES)]


def panel(one: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": query.replace("@", SELECTED),
            "legendFormat": legend,
        }
        for index, (query, legend) in enumerate(one.queries)
    ]
    return {
        "id": number,
        "type": one.kind,
        "title": one.title,
        "description": one.text,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": one.unit}, "overrides": []},
        "targets": targets,
    }


def placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """All panels, a title above each row, from left to right and from top to bottom."""
    number, y = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        title = {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": []}
        yield {**title, "gridPos": place}
        x, y, height = 0, y + 1, HEIGHT
        for one in row.panels:
            height = STAT_HEIGHT if one.kind == "stat" else HEIGHT
            if x + one.width > COLUMNS:
                x, y = 0, y + height
            number += 1
            yield panel(one, number, {"x": x, "y": y, "w": one.width, "h": height})
            x += one.width
        y += height


def dashboard(uid: str, title: str, rows: Sequence[Row]) -> str:
    document = {
        "uid": uid,
        "title": title,
        "tags": ["corechain"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "panels": list(placed(rows)),
    }
    return json.dumps(document, indent=1) + "\n"


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for uid, (title, rows) in DASHBOARDS.items():
        path, text = FOLDER / f"{uid}.json", dashboard(uid, title, rows)
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            print(f"{path.name} is not what the panels say: run `make alerts`", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
