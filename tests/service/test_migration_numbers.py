"""Every change of a schema has its own number, so that all databases take them in one order."""

import pytest

from corechain.service.sql import migrations

PACKAGES = ("corechain_indexer.store", "corechain_relayer.journal", "corechain_relayer.bridge")


@pytest.mark.parametrize("package", PACKAGES)
def test_migrations_are_numbered_one_by_one(package: str) -> None:
    numbers = [int(name[:4]) for name, _ in migrations(package)]
    assert numbers == list(range(1, len(numbers) + 1))
