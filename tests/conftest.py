"""Real servers for every test that wants one: one each per pytest process, on free ports.

`postgres`, `valkey`, `anvil` are URLs; `…_server` the server objects behind them.
"""

import ast
import fcntl
import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import execnet
import pytest
from hypothesis import HealthCheck, settings
from support.ape import deployments_forked
from support.chain import reverted_after
from support.costs import longest_first
from support.databases import Databases
from support.forked import services_forked
from support.kafka import formatted_once, shared_broker
from support.left_open import (  # noqa: F401  what pytest calls
    pytest_runtest_makereport,
    pytest_runtest_protocol,
)
from support.ports import take_own_ports
from support.scratch import take_memory
from support.valkey import flush
from support.workers import fork_workers

from corechain.devnet.network import Network
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer, ValkeyServer
from corechain.devnet.settings import Ports
from corechain.protocol import native

_parse = ast.parse


def _parse_again(*arguments: Any, **options: Any) -> ast.AST:
    """CPython 3.11 sometimes loses count of its depth in a syntax tree ("recursion depth mismatch")
    when another thread parses too; hypothesis reads the source of each state machine by it."""
    try:
        return _parse(*arguments, **options)
    except SystemError:
        return _parse(*arguments, **options)


ast.parse = _parse_again  # type: ignore[assignment]

REPOSITORY = Path(__file__).resolve().parent.parent

# How long an example took, or its data, says how busy the machine is: hypothesis' limit of 0.2 s
# would fail a test for that. `ci` is what `make test` runs: the same examples for the same code, so
# that a change is judged by what it changed; `dev`, for pytest by hand, looks for new ones.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", PATIENT)
settings.register_profile("ci", PATIENT, derandomize=True)
settings.load_profile("dev")

# All that collecting makes is kept until the end: looking it through for garbage, again and again,
# took a third of each process' collection.
gc.disable()

take_own_ports()
# After the ports: their locks lie where every run looks.
SCRATCH = take_memory()


def pytest_configure(config: pytest.Config) -> None:
    # web3 7.16 imports it; nothing of ours uses it.
    ignored = "ignore:websockets.legacy is deprecated:DeprecationWarning"
    config.addinivalue_line("filterwarnings", ignored)


def pytest_xdist_setupnodes(config: pytest.Config, specs: list[execnet.XSpec]) -> None:
    fork_workers(config, specs)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the work, what takes longest begins first: `make test`."""
    if hasattr(config, "workerinput"):
        places = longest_first(file_of(item) for item in items)
        items.sort(key=lambda item: places[file_of(item)])


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, among what tests make alone."""
    gc.freeze()
    gc.enable()


def file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def pytest_sessionfinish(exitstatus: int) -> None:
    """What failed is left to be looked at, until the next run."""
    if SCRATCH is not None and exitstatus == 0:
        # At the very end: pytest and its workers still have files there, and multiprocessing, which
        # removes its own at -100.
        Finalize(None, shutil.rmtree, (SCRATCH, True), exitpriority=-200)


def _implementations() -> str:
    if native.library is None:
        return "! corechain-native is not built: its tests are NOT run, pure Python alone is tested"
    return "corechain-native: built, tested beside pure Python"


def pytest_report_header() -> str:
    return _implementations()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """At the end, too: nobody reads the head of a long run."""
    if native.library is None:
        terminalreporter.write_line(_implementations(), red=True)


@pytest.fixture(scope="session", autouse=True)
def forked_services(common_folder: Path) -> Iterator[None]:
    """Their modules are loaded once for all, and those of Ape; a Kafka's log is formatted once."""
    with services_forked(), deployments_forked(), formatted_once(common_folder):
        yield


@pytest.fixture(scope="session")
def server_home() -> Iterator[Path]:
    """Removed at the end of the session, unlike pytest's own temporary directories."""
    with tempfile.TemporaryDirectory(prefix="corechain-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_server(server_home: Path) -> Iterator[PostgresServer]:
    with PostgresServer(server_home / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(server_home: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(server_home / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all pytest processes of a run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def kafka_address(common_folder: Path) -> Iterator[str]:
    """`host:port` of a Kafka broker that all pytest processes of a run share."""
    with shared_broker(common_folder) as address:
        yield address


@pytest.fixture(scope="session")
def deployed_home(common_folder: Path) -> Path:
    """The home of a network that ran once, without services, and was stopped: to be copied, then
    broken at will. One for all pytest processes, as a deployment costs seconds."""
    folder = common_folder
    home, done = folder / "deployed", folder / "deployed.done"
    with (folder / "deployed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the others wait for the first
        if not done.exists():
            with Network(home, ports=Ports.free(), services=(), repository=REPOSITORY):
                pass
            done.touch()
    return home


@pytest.fixture(scope="session")
def anvil_server(server_home: Path, deployed_home: Path) -> Iterator[AnvilServer]:
    """The contracts are on it. It goes on from a copy of the state, and writes none."""
    server = AnvilServer(server_home / "anvil", start_state=deployed_home / "anvil" / "state.json")
    with server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres_server: PostgresServer) -> str:
    return postgres_server.url


@pytest.fixture(scope="session")
def valkey(valkey_server: ValkeyServer) -> str:
    return valkey_server.url


@pytest.fixture(scope="session")
def anvil(anvil_server: AnvilServer) -> str:
    return anvil_server.url


@pytest.fixture(scope="session")
def deployment(deployed_home: Path, server_home: Path) -> Path:
    """The manifest of all contracts that scripts/deploy.py has deployed on the session's anvil."""
    return Path(shutil.copy(deployed_home / "31337.json", server_home))


@pytest.fixture(scope="session")
def network(server_home: Path, deployed_home: Path) -> Iterator[Network]:
    """The whole network, relayer and indexer included, with servers of its own. For reading and
    sending; a test that breaks something runs its own."""
    home = shutil.copytree(deployed_home, server_home / "network")
    with Network(home, ports=Ports.free(), repository=REPOSITORY) as running:
        yield running


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> Iterator[Databases]:
    made = Databases(postgres_server)
    yield made
    made.close()


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """The URL of an empty database that is gone after the test."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def database(empty_database: str) -> str:
    """Empty; in the folders of the services it has their tables already."""
    return empty_database


@pytest.fixture
def bus_url(valkey_server: ValkeyServer) -> str:
    """The URL of a Valkey without a single key."""
    flush(valkey_server.port)
    return valkey_server.url


@pytest.fixture
def kafka_url(kafka_address: str) -> str:
    """A bus of its own on the shared broker."""
    return f"kafka://{kafka_address}/test-{uuid.uuid4().hex}"


@pytest.fixture
def chain_state(anvil: str, deployment: Path) -> Iterator[None]:
    """The chain is after the test as it was before it: contracts deployed, nothing else."""
    with reverted_after(anvil):
        yield
