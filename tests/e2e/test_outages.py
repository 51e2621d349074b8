"""Every store's and node's outage, while all loops of relayer and indexer run as processes.

given the running services, each server behind a proxy
  └── when a server fails in one of its ways, whatever the way
        ├── it neither process ends
        ├── it /ready says what is missing, as long as it is
        ├── it the gateway takes reports, unless its own bus is what fails
        └── when the server is back: all is ready by itself, and each acknowledged report is in
              exactly one committed batch, and served
"""

import asyncio
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
from support.faults import HANG, PASS, REFUSE, RESET, FaultProxy
from support.processes import PATIENCE_S, eventually
from support.valkey import command

from corechain.account import account_from_key
from corechain.client import Client
from corechain.devnet.network import Network
from corechain.devnet.service import Service, probe
from corechain.devnet.settings import ADMIN_KEY, Ports
from corechain.devnet.weather import STATIONS, Row, read_rows
from corechain.protocol.batch import open_data_file
from corechain.protocol.errors import CoreChainError, ReplayedSequence
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import SignedReport
from corechain.steps import ApiUnavailable

REPOSITORY = Path(__file__).resolve().parents[2]
NOTICED_S, HEALED_S = PATIENCE_S, 2 * PATIENCE_S
# Short times, so that an outage shows in a test's patience.
QUICK = {
    "RELAYER_MAX_AGE_S": "0.5",
    "RELAYER_RPC_TIMEOUT_S": "2",
    "RELAYER_RESEND_AFTER_S": "1",
    "RELAYER_REFUSED_PAUSE_S": "0.5",
    "RELAYER_POLL_S": "0.2",
    "INDEXER_RPC_TIMEOUT_S": "2",
    "INDEXER_POLL_S": "0.2",
    "INDEXER_RETRY_AFTER_S": "0.2",
}


THROUGH = {
    "relayer": {
        "RELAYER_RPC_URL": "node",
        "RELAYER_DATABASE_URL": "database",
        "RELAYER_BUS_URL": "bus",
    },
    "indexer": {
        "INDEXER_RPC_URL": "node",
        "INDEXER_DATABASE_URL": "index",
        "INDEXER_REDIS_URL": "cache",
    },
}


def http_answer(status: int, body: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def answer(request: bytes) -> bytes:
        content = body(request)
        return b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%b" % (status, len(content), content)

    return answer


def _null_result(request: bytes) -> bytes:
    found = re.search(rb'"id":(\d+)', request)
    return b'{"jsonrpc":"2.0","id":%b,"result":null}' % (found[1] if found else b"0")


REFUSAL = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"internal error"}}'
NODE_WAYS: dict[str, object] = {
    "refused": REFUSE,
    "reset": RESET,
    "hanging": HANG,
    "503": http_answer(503, lambda _: b"<html>busy</html>"),
    "an error object": http_answer(200, lambda _: REFUSAL),
    "an error that is text": http_answer(200, lambda _: b'{"error":"text"}'),
    "null results": http_answer(200, _null_result),
    "a page": http_answer(200, lambda _: b"<html>welcome</html>"),
}
CONNECTION_WAYS: dict[str, object] = {"refused": REFUSE, "reset": RESET, "hanging": HANG}


def one_station() -> list[Row]:
    """Hours of one place: a device that jumped between three would be rejected by the rules."""
    return [row for row in read_rows([1, 2, 3]) if row.station == STATIONS[0].name]


@dataclass
class Site:
    """Relayer and indexer as processes, each server behind a proxy of its own."""

    network: Network
    proxies: dict[str, FaultProxy]
    relayer: Service
    indexer: Service
    client: Client
    key: Secp256k1Key
    sent: Counter[tuple[bytes, int]] = field(default_factory=Counter)
    sequence: int = 0
    rows: Iterator[Row] = field(default_factory=lambda: iter(one_station()))

    pending: SignedReport | None = None

    def report(self) -> SignedReport:
        self.sequence += 1
        return self.client.sign_report(self.key, self.sequence, next(self.rows).observations)

    def acknowledged(self) -> bool:
        """Whether the gateway takes one more report. What is refused is sent again, the very same:
        another one under its sequence would be a conflict if the first try had come through."""
        self.pending = self.pending or self.report()
        try:
            (delivery,) = self.client.send_reports([self.pending])
            assert delivery.accepted, delivery
        except ReplayedSequence:
            pass  # the answer to an earlier try was lost, the report was not
        except (ApiUnavailable, CoreChainError):
            return False
        self.sent[self.key.identity.device, self.sequence] += 1
        self.pending = None
        return True

    def failing(self, service: Service) -> list[str]:
        try:
            _, body = probe(service.port, "/ready", 10.0)
        except OSError:
            return []
        return list(httpx.Response(200, text=body).json().get("failing", []))

    def check_alive(self) -> None:
        self.relayer.check()
        self.indexer.check()

    def is_ready(self) -> bool:
        return not self.failing(self.relayer) and not self.failing(self.indexer)

    def committed(self) -> Counter[tuple[bytes, int]]:
        """(device, sequence) of every report in the data files of committed batches."""
        found: Counter[tuple[bytes, int]] = Counter()
        for commitment in self.client.chain.committed_batches():
            path = self.network.data_dir / f"{commitment.hex()}.ccdf"
            batch, _ = open_data_file(path.read_bytes())
            for signed in batch.reports:
                found[signed.report.device, signed.report.sequence] += 1
        return found

    def serves_all(self) -> bool:
        try:
            status = self.client.status()
        except ApiUnavailable:  # it says 503 also when its node was slow only once
            return False
        open_states = {k: v for k, v in status["batches"].items() if k != "verified" and v}
        return not open_states and self.committed() == self.sent


def through(url: str, proxy: FaultProxy) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition(":")[0] + f":{proxy.port}"
    return urlunsplit(parts._replace(netloc=place))


@pytest.fixture(scope="module")
def site(deployed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = shutil.copytree(deployed_home, tmp_path_factory.mktemp("outages") / "home")
    ports = Ports.free()
    with ExitStack() as stack:
        network = stack.enter_context(
            Network(home, ports=ports, services=(), repository=REPOSITORY)
        )
        urls = network.urls
        proxies = {
            name: stack.enter_context(FaultProxy(urlsplit(url).port or 0))
            for name, url in (
                ("node", urls.anvil),
                ("database", urls.postgres),
                ("bus", urls.valkey),
                ("cache", urls.valkey),
                ("index", urls.postgres),
            )
        }
        services = {}
        for name in ("relayer", "indexer"):
            settings = network.environment(name) | {
                k: v for k, v in QUICK.items() if k.startswith(name.upper())
            }
            node, database = (
                settings[f"{name.upper()}_RPC_URL"],
                settings[f"{name.upper()}_DATABASE_URL"],
            )
            settings[f"{name.upper()}_RPC_URL"] = through(node, proxies["node"])
            side = "database" if name == "relayer" else "index"
            settings[f"{name.upper()}_DATABASE_URL"] = through(database, proxies[side])
            if name == "relayer":
                settings["RELAYER_BUS_URL"] = through(settings["RELAYER_BUS_URL"], proxies["bus"])
            else:
                redis = settings["INDEXER_REDIS_URL"]
                settings["INDEXER_REDIS_URL"] = through(redis, proxies["cache"])
            port = int(getattr(ports, name))
            services[name] = Service(name, home / name, port, [name, "run"], settings)
            services[name].start()
            stack.callback(services[name].stop)
        account = account_from_key(ADMIN_KEY)
        client = Client(urls.indexer, urls.relayer, urls.anvil, network.deployment, account)
        key = Secp256k1Key(bytes(31) + b"\x51")
        client.register_device(key)
        yield Site(network, proxies, services["relayer"], services["indexer"], client, key)


@contextmanager
def failing(site: Site, name: str, way: object) -> Iterator[None]:
    """One server fails in one way, and is back at the end."""
    site.proxies[name].become(way)  # type: ignore[arg-type]
    try:
        yield
    finally:
        site.proxies[name].become(PASS)


def assert_survived(site: Site, missing: dict[str, Service], takes_reports: bool) -> None:
    """What must hold while something is away. `missing`: name in /ready → which service says it."""
    for name, service in missing.items():
        told = eventually(lambda n=name, s=service: n in site.failing(s), NOTICED_S)
        assert told, (name, site.failing(service))
    if takes_reports:
        assert eventually(site.acknowledged)
    else:
        assert not site.acknowledged()
    site.check_alive()


def assert_healed(site: Site) -> None:
    site.check_alive()
    assert eventually(site.is_ready, HEALED_S), (
        site.failing(site.relayer),
        site.failing(site.indexer),
    )
    assert eventually(site.acknowledged, HEALED_S)
    assert eventually(site.serves_all, HEALED_S), (
        site.sent - site.committed(),
        site.client.status(),
    )


@pytest.mark.parametrize("way", NODE_WAYS)
def test_the_services_outlive_a_node(site: Site, way: str) -> None:
    assert eventually(site.acknowledged)
    with failing(site, "node", NODE_WAYS[way]):
        assert_survived(site, {"node": site.relayer}, takes_reports=True)
        assert_survived(site, {"node": site.indexer}, takes_reports=True)
    assert_healed(site)


@pytest.mark.parametrize("way", CONNECTION_WAYS)
def test_the_relayer_outlives_its_database(site: Site, way: str) -> None:
    assert eventually(site.acknowledged)
    with failing(site, "database", CONNECTION_WAYS[way]):
        assert_survived(site, {"database": site.relayer}, takes_reports=True)
    assert_healed(site)


@pytest.mark.parametrize("way", CONNECTION_WAYS)
def test_the_relayer_outlives_its_bus(site: Site, way: str) -> None:
    assert eventually(site.acknowledged)
    with failing(site, "bus", CONNECTION_WAYS[way]):
        assert_survived(site, {"bus": site.relayer}, takes_reports=False)
    assert_healed(site)


@pytest.mark.parametrize("way", CONNECTION_WAYS)
def test_the_indexer_outlives_its_database(site: Site, way: str) -> None:
    assert eventually(site.acknowledged)
    with failing(site, "index", CONNECTION_WAYS[way]):
        assert_survived(site, {"database": site.indexer}, takes_reports=True)
    assert_healed(site)


@pytest.mark.parametrize("way", CONNECTION_WAYS)
def test_the_indexer_outlives_its_cache(site: Site, way: str) -> None:
    assert eventually(site.acknowledged)
    with failing(site, "cache", CONNECTION_WAYS[way]):
        assert_survived(site, {"cache": site.indexer}, takes_reports=True)
    assert_healed(site)


def execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


TABLES = {
    "relayer": ("batch", "intent", "attempt"),
    "indexer": ("block", "event", "batch", "batch_file", "segment"),
}
FULL = """
create or replace function no_space() returns trigger language plpgsql as $$
begin
    raise exception 'could not extend file: No space left on device' using errcode = '53100';
end $$
"""


@pytest.mark.parametrize("name", ["relayer", "indexer"])
def test_the_services_outlive_a_database_that_cannot_write(site: Site, name: str) -> None:
    assert eventually(site.acknowledged)
    url = site.network.postgres.database_url(name)
    tables = TABLES[name]
    guard = "create trigger full_disk before insert or update on {} execute function no_space()"
    execute(url, FULL, *(guard.format(table) for table in tables))
    try:
        assert eventually(site.acknowledged)
        service = getattr(site, name)
        loop = {"relayer": "aggregator", "indexer": "mirror"}[name]
        assert eventually(lambda: loop in site.failing(service), NOTICED_S), site.failing(service)
        site.check_alive()
    finally:
        execute(url, *(f"drop trigger full_disk on {table}" for table in tables))
    assert_healed(site)


@pytest.mark.parametrize("name", ["relayer", "indexer"])
def test_the_services_outlive_a_read_only_database(site: Site, name: str) -> None:
    assert eventually(site.acknowledged)
    server, url = site.network.postgres, site.network.postgres.database_url(name)
    database = urlsplit(url).path.strip("/")
    end = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'"
    execute(server.url, f"alter database {database} set default_transaction_read_only = on", end)
    try:
        assert eventually(site.acknowledged)
        service = getattr(site, name)
        loop = {"relayer": "aggregator", "indexer": "mirror"}[name]
        assert eventually(lambda: loop in site.failing(service), NOTICED_S), site.failing(service)
        site.check_alive()
    finally:
        execute(server.url, f"alter database {database} reset default_transaction_read_only", end)
    assert_healed(site)


REDIS_WAYS = {
    "full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "read-only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
}


@pytest.mark.parametrize("way", REDIS_WAYS)
def test_the_services_outlive_a_bus_and_cache_that_cannot_write(site: Site, way: str) -> None:
    assert eventually(site.acknowledged)
    begin, end = REDIS_WAYS[way]
    assert command(site.network.valkey.port, *begin) == b"+OK\r\n"
    try:
        assert not site.acknowledged()
        site.check_alive()
    finally:
        assert command(site.network.valkey.port, *end) == b"+OK\r\n"
    assert_healed(site)


def test_the_indexer_starts_before_anything_it_needs(site: Site) -> None:
    """Kubernetes starts everything at once; whoever is first waits, and says for what."""
    for name in ("node", "index", "cache"):
        site.proxies[name].become(REFUSE)
    site.indexer.stop()
    port = site.indexer.port
    starting = Service("early", site.network.home / "early", port, ["indexer", "run"], {})
    starting.settings = dict(site.indexer.settings)
    launch = threading.Thread(target=starting.start)
    launch.start()
    try:
        assert eventually(lambda: "database" in site.failing(starting), NOTICED_S)
        assert eventually(lambda: {"node", "cache"} <= set(site.failing(starting)))
        assert probe(port, "/health", PATIENCE_S)[0] == 200
        assert probe(port, "/v1/batches", PATIENCE_S)[0] == 503
    finally:
        for name in ("node", "index", "cache"):
            site.proxies[name].become(PASS)
        launch.join(HEALED_S)
        starting.stop()
    site.indexer.start()
    assert_healed(site)
