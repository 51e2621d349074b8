"""Hashes of Redis that are read together, over a connection that may end at any moment."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from support.valkey import command

from corechain.devnet.servers import ValkeyServer
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.store.hashes import HashReads, Replies, hash_commands
from corechain_indexer.store.latest import Latest, connect_cache, told

KEYS = [b"hash reads %d" % number for number in range(3)]
HELD: list[dict[Any, Any]] = [{b"a": b"1", b"b": b"\r\n$3\r\n"}, {b"": b"2"}, {}]


@asynccontextmanager
async def reads_of(url: str) -> AsyncIterator[tuple[HashReads, "Redis"]]:
    redis = connect_cache(url)
    for key, fields in zip(KEYS, HELD, strict=True):
        await redis.delete(key)
        if fields:
            await redis.hset(key, mapping=fields)
    reads = HashReads(redis)
    try:
        yield reads, redis
    finally:
        await reads.close()
        await redis.aclose()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_hashes_are_what_redis_holds_by_either_protocol(bus_url: str, protocol: int) -> None:
    async with reads_of(f"{bus_url}?protocol={protocol}") as (reads, _):
        assert await reads.of(KEYS) == HELD
        assert await reads.of(KEYS[:1]) == HELD[:1]


async def test_hashes_are_read_by_a_socket_with_user_password_and_database() -> None:
    # A short path, as a socket needs it: pytest's own is not always.
    with (
        tempfile.TemporaryDirectory(prefix="cc") as folder,
        ValkeyServer(Path(folder) / "valkey") as server,
    ):
        command(server.port, "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all")
        command(server.port, "ACL", "SETUSER", "default", "off")
        socket = server.socket_url.replace("unix://", "unix://reader:secret@").partition("?")[0]
        for url in (f"{socket}?db=3", f"redis://reader:secret@127.0.0.1:{server.port}/3"):
            async with reads_of(url) as (reads, _):
                assert await reads.of(KEYS) == HELD


async def test_a_connection_that_the_server_ended_is_replaced(bus_url: str) -> None:
    async with reads_of(bus_url) as (reads, redis):
        assert await reads.of(KEYS) == HELD
        await redis.client_kill_filter(_type="normal", skipme=True)
        assert await reads.of(KEYS) == HELD


async def test_an_end_that_nobody_noticed_is_no_outage_of_the_cache(bus_url: str) -> None:
    """Connections of before the cache was killed may lie in the pool for hours."""
    redis = connect_cache(bus_url)
    latest = Latest(redis, cast(Any, None))
    await asyncio.gather(*(latest.ping() for _ in range(4)))
    await redis.client_kill_filter(_type="normal", skipme=True)
    await asyncio.gather(*(latest.ping() for _ in range(4)))
    await redis.aclose()


async def test_who_leaves_does_not_leave_replies_to_the_next(bus_url: str) -> None:
    async with reads_of(bus_url) as (reads, _):
        await reads.of(KEYS)
        leaving = asyncio.create_task(reads.of(KEYS[:1]))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await reads.of(KEYS[1:]) == HELD[1:]


async def test_several_who_ask_at_once_get_their_own(bus_url: str) -> None:
    async with reads_of(bus_url) as (reads, _):
        found = await asyncio.gather(*(reads.of([key]) for key in KEYS))
        assert found == [[fields] for fields in HELD]


async def test_a_key_that_is_no_hash_is_an_outage_and_spoils_nothing_after_it(bus_url: str) -> None:
    async with reads_of(bus_url) as (reads, redis):
        await redis.set("no hash", 1)
        with pytest.raises(CacheUnavailable, match="WRONGTYPE"):
            await reads.of([KEYS[0], b"no hash"])
        assert await reads.of(KEYS) == HELD


async def test_a_server_that_is_gone_is_said_to_be_away(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        async with reads_of(server.url) as (reads, _):
            assert await reads.of(KEYS) == HELD
            server.kill()
            with pytest.raises(CacheUnavailable, match="not there"):
                await told(reads.of(KEYS))


async def test_a_server_that_hangs_up_on_every_question_is_away(
    bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reads_of(bus_url) as (reads, _):
        with monkeypatch.context() as patched:
            patched.setattr(Replies, "data_received", lambda self, _: self.connection_lost(None))
            with pytest.raises(CacheUnavailable, match="not there"):
                await reads.of(KEYS)
        assert await reads.of(KEYS) == HELD


async def test_what_is_no_reply_ends_the_connection() -> None:
    replies = Replies()
    waits = replies.expect(1)
    replies.data_received(b"what?\r\n")
    with pytest.raises(ConnectionError):
        await waits
    assert replies.is_lost


async def test_what_redis_tells_unasked_is_no_reply() -> None:
    replies = Replies()
    waits = replies.expect(1)
    replies.data_received(b">2\r\n$4\r\nnews\r\n$1\r\n1\r\n%1\r\n$1\r\na\r")
    assert not waits.done(), "half a reply"
    replies.data_received(b"\n$1\r\n1\r\n")
    assert await waits == [{b"a": b"1"}]


def test_commands_are_those_of_the_protocol() -> None:
    expected = b"*2\r\n$7\r\nHGETALL\r\n$1\r\na\r\n*2\r\n$7\r\nHGETALL\r\n$0\r\n\r\n"
    assert hash_commands([b"a", b""]) == expected
