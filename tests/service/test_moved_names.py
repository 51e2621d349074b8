"""A host name that leads elsewhere since: nothing of ours keeps an address.

given a name at which nobody is, then a server, then nobody again
  └── each connection goes to where the name leads at that moment
"""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from relayer.buses import bus_at
from support.node import odd_node, result

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import free_port
from corechain.devnet.servers import ValkeyServer
from corechain.protocol.errors import TransportError
from corechain.service.database import asked, create_pool
from corechain.service.readers import Readers
from corechain.service.rpc import Rpc
from corechain_indexer.store.latest import connect_cache, told

NAME, PORT = "moves.test", 7
Asking = Callable[[], Awaitable[object]]


class Moving:
    """A name server: of NAME at PORT it says the port of this machine that it is led to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.port, self._asked = free_port(), socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host in (NAME, NAME.encode()):
            place = ("127.0.0.1", self.port)
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)]
        return self._asked(host, port, *rest, **more)

    async def follow(self, ask: Asking, server: int, hang_up: Asking) -> None:
        nobody = free_port()
        for place in (nobody, server, nobody, server):
            self.port = place
            await hang_up()
            if place == server:
                assert await ask()
            else:
                with pytest.raises(TransportError):
                    await ask()


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> Moving:
    return Moving(monkeypatch)


async def test_a_postgres_that_moved_is_found_by_its_name(
    moving: Moving, postgres_server: PostgresServer
) -> None:
    url = postgres_server.url.replace(f"127.0.0.1:{postgres_server.port}", f"{NAME}:{PORT}")
    readers = Readers(url)

    async def drop() -> None:
        for connection, _ in readers._idle:
            connection.terminate()

    await moving.follow(lambda: asked(readers.fetchval("select 1")), postgres_server.port, drop)
    await readers.close()
    async with create_pool(url) as pool:
        await moving.follow(
            lambda: asked(pool.fetchval("select 1")), postgres_server.port, pool.expire_connections
        )


async def test_a_cache_and_a_bus_that_moved_are_found_by_their_name(
    moving: Moving, valkey_server: ValkeyServer
) -> None:
    url = f"redis://{NAME}:{PORT}/0"
    cache = connect_cache(url)
    away = cache.connection_pool.disconnect
    await moving.follow(lambda: told(cache.ping()), valkey_server.port, away)
    await cache.aclose()
    async with bus_at(url) as bus:

        async def entered() -> bool:
            await bus.enter(0)
            return True

        await moving.follow(entered, valkey_server.port, bus.redis.connection_pool.disconnect)


async def test_a_node_that_moved_is_found_by_its_name(moving: Moving) -> None:
    async with odd_node(result("0x1")) as node:
        rpc = Rpc(f"http://{NAME}:{PORT}", 5.0)
        await moving.follow(rpc.chain_id, int(node.url.rpartition(":")[2]), rpc.close)
        await rpc.close()
