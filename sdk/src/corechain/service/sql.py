"""SQL lives in files: a folder `sql` beside the code with `queries.sql` and numbered migrations."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MIGRATION = re.compile(r"\d{4}_\w+\.sql")


@cache
def queries(package: str) -> dict[str, str]:
    """The named queries of a package: each begins with a line `-- name: its_name`."""
    text = (files(package) / "sql" / "queries.sql").read_text()
    parts = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def migrations(package: str) -> list[tuple[str, str]]:
    """(name, text) of a package's migrations, in order."""
    folder = files(package) / "sql"
    found = [entry for entry in folder.iterdir() if _MIGRATION.fullmatch(entry.name)]
    return [(entry.name, entry.read_text()) for entry in sorted(found, key=lambda e: e.name)]
