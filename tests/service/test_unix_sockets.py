"""Stores on the same machine by their Unix sockets: less work for both ends than TCP.

given a Postgres with a socket
  ├── it is asked by a URL that names the socket's folder
  └── after a kill -9 its socket is there again
given a Valkey on the same machine
  └── it is asked by unix://
given a folder whose path is too long for a socket
  └── the URLs are those of TCP
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import ValkeyServer
from corechain.service.database import create_pool
from corechain.service.readers import Readers

BY_SOCKET = "select inet_server_addr() is null"
"""Null where the client did not come by an address."""


@pytest.fixture
def near() -> Iterator[Path]:
    """A folder with a short path, which pytest's own has not always."""
    with tempfile.TemporaryDirectory(prefix="cc") as folder:
        yield Path(folder)


async def test_a_postgres_is_asked_by_its_socket_before_and_after_a_kill(near: Path) -> None:
    server = PostgresServer(near / "pg", has_socket=True)
    with server:
        url = server.socket_url("postgres")
        readers = Readers(url, size=1)
        assert await readers.fetchval(BY_SOCKET)
        await readers.close()
        server.kill()
        with server.start():
            async with create_pool(url) as pool:
                assert await pool.fetchval(BY_SOCKET)


async def test_a_valkey_is_asked_by_its_socket(near: Path) -> None:
    with ValkeyServer(near / "valkey") as server:
        assert server.socket_url.startswith("unix:///")
        async with Redis.from_url(server.socket_url) as redis:
            await redis.set("reading", 7)
        async with Redis.from_url(server.url) as redis:
            assert await redis.get("reading") == b"7"


def test_where_the_path_is_too_long_for_a_socket_the_urls_are_those_of_tcp(tmp_path: Path) -> None:
    far = tmp_path / ("long" * 30)
    assert "127.0.0.1" in PostgresServer(far, has_socket=True).socket_url("postgres")
    assert "127.0.0.1" in ValkeyServer(far).socket_url
    assert "127.0.0.1" in PostgresServer(tmp_path).socket_url("postgres"), "it was made without"
