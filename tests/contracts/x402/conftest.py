"""A chain where the stock package finds our contracts, and a shop that uses nothing but it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stock import Stock, install_all


@pytest.fixture
def token(anvil: str, deployment: Path, chain_state: None) -> str:
    return install_all(anvil, deployment)


@pytest.fixture
def installed(anvil: str, token: str) -> Stock:
    """The contracts alone: nobody serves."""
    return Stock(anvil, token)


@pytest.fixture
def stock(installed: Stock) -> Iterator[Stock]:
    installed.fund()
    with installed.open():
        yield installed
