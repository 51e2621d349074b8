"""Services reach Postgres and Redis by TLS, and nobody else in their place.

given a Postgres and a Valkey behind TLS, with a certificate of an authority of our own
  when a URL names that authority
    it is connected to, by TLS, by all that services connect with
  when it names another one, the server has another name, or speaks no TLS
    it is an outage that names the reason, and nothing was asked
  when the file of the authority is another one since
    who is connected again reads it
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from support.kafka_secure import make_certificate
from support.node import odd_node, result
from support.processes import PATIENCE_S

from corechain import http
from corechain.service.database import asked, connect, create_pool, writer
from corechain.service.errors import NodeUnavailable, StoreUnavailable
from corechain.service.files import fetch
from corechain.service.redis_credentials import RenewedTls
from corechain.service.rpc import Rpc
from corechain_indexer.store.cluster import cluster_of
from corechain_indexer.store.hashes import HashReads
from corechain_indexer.store.latest import CacheUnavailable, connect_cache, told
from corechain_relayer.bus import connection as bus
from corechain_relayer.bus.guard import Guard
from corechain_relayer.errors import BusUnavailable

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""What a client of Postgres says first. Source: PostgreSQL, "Message Formats", SSLRequest."""
PIECE = 65_536


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`server.pem` with `server-key.pem` for 127.0.0.1, and `other.pem` of somebody else."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "other"):
        make_certificate(folder, name)
    return folder


@dataclass
class Front:
    """TLS before a real server whose build has none. `sessions`: handshakes that came to an end;
    `said`: bytes that came through them."""

    target: int
    context: ssl.SSLContext
    asks_first: bool
    port: int = 0
    sessions: int = 0
    said: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            if self.asks_first:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                    writer.close()
                    return
                writer.write(b"S")
            await writer.start_tls(self.context)
            self.sessions += 1
            inward, outward = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._pass(reader, outward, 1), self._pass(inward, writer, 0))
        writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: int
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                self.said += counts * len(piece)
                writer.write(piece)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def front(url: str, certificates: Path, *, asks_first: bool) -> AsyncIterator[Front]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server-key.pem")
    found = Front(urlsplit(url).port or 0, context, asks_first)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


@pytest.fixture
async def postgres_front(postgres: str, certificates: Path) -> AsyncIterator[Front]:
    async with front(postgres, certificates, asks_first=True) as found:
        yield found


@pytest.fixture
async def valkey_front(bus_url: str, certificates: Path) -> AsyncIterator[Front]:
    async with front(bus_url, certificates, asks_first=False) as found:
        yield found


def database_at(port: int, authority: Path, host: str = "127.0.0.1") -> str:
    options = f"sslmode=verify-full&sslrootcert={authority}"
    return f"postgresql://postgres@{host}:{port}/postgres?{options}"


async def test_postgres_is_known_by_its_authority(
    postgres_front: Front, certificates: Path
) -> None:
    url = database_at(postgres_front.port, certificates / "server.pem")
    connection = await connect(url)
    assert await connection.fetchval("select 7") == 7
    await connection.close()
    async with writer(url, "a lane by TLS") as held, create_pool(url) as pool:
        assert await held.fetchval("select 8") == await asked(pool.fetchval("select 8")) == 8
    assert postgres_front.sessions == 3


@pytest.mark.parametrize(
    ("authority", "host"),
    [("other", "127.0.0.1"), ("server", "localhost")],
    ids=["another authority", "another name"],
)
async def test_a_postgres_that_cannot_show_who_it_is_is_away(
    postgres_front: Front, certificates: Path, authority: str, host: str
) -> None:
    url = database_at(postgres_front.port, certificates / f"{authority}.pem", host)
    with pytest.raises(StoreUnavailable, match=r"cannot be reached|SSL"):
        await connect(url)
    assert postgres_front.said == 0


async def test_a_postgres_without_tls_is_away(postgres: str, certificates: Path) -> None:
    url = database_at(urlsplit(postgres).port or 0, certificates / "server.pem")
    with pytest.raises(StoreUnavailable, match="Postgres"):
        await connect(url)


def redis_at(port: int, authority: Path, host: str = "127.0.0.1") -> str:
    return f"rediss://{host}:{port}/1?ssl_ca_certs={authority}"


async def test_redis_is_known_by_its_authority(valkey_front: Front, certificates: Path) -> None:
    url = redis_at(valkey_front.port, certificates / "server.pem")
    cache = connect_cache(url)
    assert await told(cache.ping())
    hashes = HashReads(cache)
    assert await told(hashes.of([b"nobody's", b"nothing"])) == [{}, {}]
    await hashes.close()
    await cache.aclose()
    relayers = bus.connect(url, Guard(vouched=True))
    assert await bus.asked(relayers.ping())
    await relayers.aclose()
    assert valkey_front.sessions == 3


@pytest.mark.parametrize(
    ("authority", "host"),
    [("other", "127.0.0.1"), ("server", "localhost")],
    ids=["another authority", "another name"],
)
async def test_a_redis_that_cannot_show_who_it_is_is_away(
    valkey_front: Front, certificates: Path, authority: str, host: str
) -> None:
    url = redis_at(valkey_front.port, certificates / f"{authority}.pem", host)
    cache, relayers = connect_cache(url), bus.connect(url, Guard(vouched=True))
    with pytest.raises(CacheUnavailable):
        await told(cache.ping())
    with pytest.raises(BusUnavailable):
        await bus.asked(relayers.ping())
    for client in (cache, relayers):
        await client.aclose()
    assert valkey_front.said == 0


async def test_another_certificate_in_the_same_file_is_read_at_the_next_connection(
    valkey_front: Front, certificates: Path, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes((certificates / "other.pem").read_bytes())
    url = redis_at(valkey_front.port, authority)
    cache, relayers = connect_cache(url), bus.connect(url, Guard(vouched=True))
    with pytest.raises(CacheUnavailable):
        await told(cache.ping())
    with pytest.raises(BusUnavailable):
        await bus.asked(relayers.ping())
    authority.write_bytes((certificates / "server.pem").read_bytes())
    assert await told(cache.ping())
    assert await bus.asked(relayers.ping())
    for client in (cache, relayers):
        await client.aclose()


@pytest.mark.parametrize(
    "make", [http.async_client, lambda: fetch._client(PATIENCE_S)], ids=["any", "of data files"]
)
async def test_a_node_is_known_by_who_is_in_the_file_of_authorities_since(
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], httpx.AsyncClient],
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes((certificates / "other.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setattr(http, "_authorities", cache(http._authorities.__wrapped__))
    async with (
        odd_node(result("0x7")) as node,
        front(node.url, certificates, asks_first=False) as tls,
    ):
        url = f"https://127.0.0.1:{tls.port}"
        rpc, kept = Rpc(url, PATIENCE_S), make()
        for now in (b"", (certificates / "other.pem").read_bytes()):
            with pytest.raises(NodeUnavailable):
                await rpc.chain_id()
            file.write_bytes(now)
        file.write_bytes((certificates / "server.pem").read_bytes())
        # As of signers, facilitators and receivers: nobody but they may look at the file.
        assert (await kept.post(url, json={"id": 1})).is_success
        await kept.aclose()
        assert await rpc.chain_id() == 7
        await rpc.close()


async def test_a_cluster_of_redis_is_known_by_the_same_options() -> None:
    options = "ssl_ca_certs=/etc/ca.pem&ssl_certfile=/etc/us.pem&ssl_keyfile=/etc/us.key"
    client = cluster_of(f"rediss+cluster://:hunter2@one,two:7000/?{options}")
    given = client.connection_kwargs
    assert client.nodes_manager.connection_kwargs["connection_class"] is RenewedTls
    for node in client.get_nodes() or client.nodes_manager.startup_nodes.values():
        assert node.connection_class is RenewedTls
    assert given["ssl_ca_certs"] == "/etc/ca.pem"
    assert (given["ssl_certfile"], given["ssl_keyfile"]) == ("/etc/us.pem", "/etc/us.key")
    await client.aclose()
