"""What is measured in a cluster begins whole."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def forked_services() -> None:
    """None: what a process has in memory would be another's."""
