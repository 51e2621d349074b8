"""A chain where the stock package finds our contracts, and a shop that uses nothing but it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stock import Stock, install_all


@pytest.fixture
def token(anvil: str, deployment: Path, chain_state: None) -> str:
    return install_all(anvil, deployment)


@pytest.fixture
def stock(anvil: str, token: str) -> Iterator[Stock]:
    made = Stock(anvil, token)
    made.fund()
    with made.open():
        yield made
