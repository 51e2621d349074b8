"""Where things of the indexer are kept, so that they are found, and can be changed, in one place.

given the indexer's code
  nothing but its stores talks to Postgres, or knows a query by name
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

INDEXER = Path(__file__).resolve().parents[2] / "indexer" / "src" / "corechain_indexer"
STORES = INDEXER / "store"
FILES = sorted(INDEXER.rglob("*.py"))
ASKS = {"fetch", "fetchrow", "fetchval", "execute", "executemany", "copy_records_to_table"}
"""How asyncpg is asked."""
ASKED = {"pool", "connection", "database", "replica"}
"""What the one that is asked is called: Redis has an `execute` too."""


def name_of(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return getattr(node, "attr", getattr(node, "id", ""))


def questions_of(source: str) -> Iterator[str]:
    """Each place at which code asks Postgres, or takes a query by its name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ASKS and name_of(node.value) in ASKED:
            yield f"{node.lineno}: .{node.attr}"
        elif isinstance(node, ast.ImportFrom) and any(name.name == "SQL" for name in node.names):
            yield f"{node.lineno}: SQL"


def test_only_stores_ask_postgres() -> None:
    outside = [path for path in FILES if not path.is_relative_to(STORES)]
    assert len(outside) > 20
    found = {str(path.relative_to(INDEXER)): [*questions_of(path.read_text())] for path in outside}
    assert {path: places for path, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from corechain_indexer.store import SQL",
        "rows = await self.pool.fetch('select 1')",
        "await connection.execute(text)",
        "ask = pool.fetchval",
    ],
)
def test_such_a_place_would_be_seen(source: str) -> None:
    assert list(questions_of(source))
