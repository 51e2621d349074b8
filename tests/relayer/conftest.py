"""A relayer process on real servers; the servers come from tests/conftest.py."""

import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from support.databases import Databases

from corechain_relayer.journal.sql import migrations
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.transactions.book import Book
from relayer.lane import Lane, open_lane
from relayer.queues import HOUR_S, QUEUE, Queue
from relayer.support import Chain, RelayerProcess, Sensor, load, p256, secp, settings_for

with warnings.catch_warnings():
    # web3 7 still imports the legacy half of websockets, which warns once, at import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import corechain.chain  # noqa: F401


@pytest.fixture
def chain(anvil: str, deployment: Path, chain_state: None) -> Chain:
    return Chain(anvil, load(deployment))


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The URL of a new database with the relayer's tables; `empty_database` is for tests of the
    migrations themselves."""
    url = databases.migrated("relayer", migrations())
    yield url
    databases.drop(url)


@pytest.fixture
def stream() -> str:
    """A name of its own on the shared bus."""
    return f"test:{uuid.uuid4().hex}"


@pytest.fixture(params=["valkey", "kafka"])
def any_bus_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty bus of each kind."""
    fixture = {"valkey": "bus_url", "kafka": "kafka_url"}[request.param]
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def environment(
    chain: Chain, deployment: Path, bus_url: str, database: str, tmp_path: Path, stream: str
) -> dict[str, str]:
    # The chain comes first, so that it is set back only after the relayers are gone.
    return settings_for(chain.url, deployment, bus_url, database, tmp_path, stream)


Start = Callable[..., RelayerProcess]


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts relayers with changed settings, each ready (see `RelayerProcess.start`) unless the
    test says `ready=False`; all are gone at the end."""
    started: list[RelayerProcess] = []

    def launch(*roles: str, ready: bool = True, **changes: str) -> RelayerProcess:
        folder = tmp_path / f"process-{len(started)}"
        folder.mkdir()
        process = RelayerProcess(environment | changes, folder, roles)
        started.append(process)
        return process.start(ready)

    yield launch
    for process in started:
        process.close()


@pytest.fixture
def relayer(start: Start) -> RelayerProcess:
    return start()


@pytest.fixture
def sensor(chain: Chain) -> Sensor:
    """A registered secp256k1 device."""
    key = secp(1)
    chain.register(key)
    return Sensor(key, chain.domain)


@pytest.fixture
def secure_sensor(chain: Chain) -> Sensor:
    """A registered P-256 device."""
    key = p256(2)
    chain.register(key)
    return Sensor(key, chain.domain)


@pytest.fixture
async def lane(chain: Chain, database: str) -> AsyncIterator[Lane]:
    async with open_lane(chain, database) as found:
        yield found


@pytest.fixture
async def queue(lane: Lane) -> AsyncIterator[Queue]:
    chain = lane.chain
    chain.rpc("evm_setAutomine", False)
    lane.restart(resend_after_s=HOUR_S, bump_after_s=HOUR_S)
    journal = IntentJournal(lane.journal.connection, QUEUE)
    found = Queue(lane, journal, Book(lane.pool), lane.submitter)
    found.restart()
    yield found
    chain.rpc("anvil_dropAllTransactions")
    chain.rpc("evm_setAutomine", True)
