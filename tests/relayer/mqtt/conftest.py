"""Brokers for these tests, and a relayer that takes from one.

Aedes, from npm, is always there: MQTT 3.1.1. Mosquitto, which no package registry has, is there
where `make setup` could get it: all else rests on it.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from corechain.devnet.aedes import AedesServer
from corechain.devnet.errors import MissingProgram
from corechain.devnet.mosquitto import MosquittoServer, find_mosquitto
from corechain.devnet.servers import Server
from relayer.conftest import Start
from relayer.support import RelayerProcess, eventually


def has_mosquitto() -> bool:
    try:
        find_mosquitto()
    except MissingProgram:
        return False
    return True


NEED_MOSQUITTO = ["test_mqtt_certificates.py", "test_mqtt_mosquitto.py"]
collect_ignore = [] if has_mosquitto() else NEED_MOSQUITTO


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not has_mosquitto():
        line = "! there is no Mosquitto: MQTT 5, TLS and restarts are NOT tested"
        terminalreporter.write_line(line, red=True)


AVAILABLE = [("aedes", "3.1.1"), *([("mosquitto", "5")] * has_mosquitto())]
"""Broker and version, the fullest last."""


@pytest.fixture(scope="session")
def brokers(server_home: Path) -> Iterator[dict[str, Server]]:
    """Those that are there, by name."""
    with AedesServer(server_home / "aedes") as aedes:
        if not has_mosquitto():
            yield {"aedes": aedes}
            return
        with MosquittoServer(server_home / "mosquitto") as mosquitto:
            yield {"aedes": aedes, "mosquitto": mosquitto}


@pytest.fixture
def choice() -> tuple[str, str]:
    """Broker and version of a test that works with any."""
    return AVAILABLE[-1]


@pytest.fixture
def version(choice: tuple[str, str]) -> str:
    return choice[1]


@pytest.fixture
def broker(brokers: dict[str, Server], choice: tuple[str, str]) -> Server:
    return brokers[choice[0]]


@pytest.fixture
def prefix() -> str:
    """Topics of its own on the shared broker."""
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def mqtt_settings(broker: Server, version: str, prefix: str) -> dict[str, str]:
    return settings_of(broker, version, prefix)


def settings_of(server: Server, version: str, prefix: str) -> dict[str, str]:
    return {
        "RELAYER_MQTT_URL": server.url,
        "RELAYER_MQTT_VERSION": version,
        "RELAYER_MQTT_PREFIX": prefix,
        "RELAYER_MQTT_CLIENT_ID": prefix.replace("/", "-"),
    }


def held(relayer: RelayerProcess) -> float:
    """Messages that it has, and has not acknowledged."""
    lines = relayer.get("/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith("corechain_mqtt_held "))
    return float(line.rpartition(" ")[2])


def subscribed(relayer: RelayerProcess) -> RelayerProcess:
    """The same, once the broker keeps messages for it."""

    def is_subscribed() -> bool:
        """the relayer has subscribed"""
        return "\ncorechain_mqtt_subscribed 1.0" in relayer.get("/metrics").text

    eventually(is_subscribed)
    return relayer


@pytest.fixture
def taking(start: Start, mqtt_settings: dict[str, str]) -> RelayerProcess:
    """A relayer with role mqtt alone: what it takes stays on the bus."""
    return subscribed(start("mqtt", **mqtt_settings))
