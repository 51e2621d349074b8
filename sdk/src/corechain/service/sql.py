"""SQL lives in files: a folder `sql` beside the code with numbered migrations and named queries,
the latter in `queries.sql` or, where they are many, in one file a store under `queries/`."""

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MIGRATION = re.compile(r"\d{4}_\w+\.sql")


@cache
def queries(package: str) -> dict[str, str]:
    """The named queries of a package: each begins with a line `-- name: its_name`."""
    found: dict[str, str] = {}
    for text in _texts(files(package) / "sql"):
        parts = _NAME.split(text)[1:]
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            # Two files with one name: the later would silently answer for the earlier.
            if name in found:
                raise ValueError(f"{package} has two queries named {name}")
            found[name] = body.strip()
    return found


def _texts(folder: Traversable) -> list[str]:
    one, many = folder / "queries.sql", folder / "queries"
    if one.is_file():
        return [one.read_text()]
    return [entry.read_text() for entry in many.iterdir() if entry.name.endswith(".sql")]


def migrations(package: str) -> list[tuple[str, str]]:
    """(name, text) of a package's migrations, in order."""
    folder = files(package) / "sql"
    found = [entry for entry in folder.iterdir() if _MIGRATION.fullmatch(entry.name)]
    return [(entry.name, entry.read_text()) for entry in sorted(found, key=lambda e: e.name)]
