"""Every change of a schema has its own number, so that all databases take them in one order; so has
every decision, so that a reference means one."""

from pathlib import Path

import pytest

from corechain.service.sql import migrations

DECISIONS = Path(__file__).resolve().parents[2] / "docs" / "decisions"
PACKAGES = ("corechain_indexer.store", "corechain_relayer.journal", "corechain_relayer.bridge")


@pytest.mark.parametrize("package", PACKAGES)
def test_migrations_are_numbered_one_by_one(package: str) -> None:
    numbers = [int(name[:4]) for name, _ in migrations(package)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_decisions_are_numbered_one_by_one() -> None:
    numbers = sorted(int(file.name[:4]) for file in DECISIONS.glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
