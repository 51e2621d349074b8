"""Finds the named queries of `sql/queries.sql` and the migrations beside it."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MIGRATION = re.compile(r"\d{4}_\w+\.sql")


@cache
def _queries() -> dict[str, str]:
    text = (files(__package__) / "sql" / "queries.sql").read_text()
    parts = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def query(name: str) -> str:
    """A query by its name."""
    return _queries()[name]


def migrations() -> list[tuple[str, str]]:
    """(name, text) in order."""
    folder = files(__package__) / "sql"
    found = [entry for entry in folder.iterdir() if _MIGRATION.fullmatch(entry.name)]
    return [(entry.name, entry.read_text()) for entry in sorted(found, key=lambda e: e.name)]
