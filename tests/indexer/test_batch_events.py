"""The log of what happened to batches: numbers without a gap, and what Redis holds follows from it.

given batches that are verified, undone and made final in Postgres
  ├── each is told once, in the order in which it happened
  ├── a cursor of another log, another history or of nothing is refused, an old one told what to do
  ├── whatever Redis loses, and whenever the relay dies, the stream becomes a piece of the log again
  └── no command names keys of two slots: a server in cluster mode takes them all
"""

import struct
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.exceptions import ClusterCrossSlotError
from support.processes import eventually
from support.valkey import command

from corechain.devnet.process import Command
from corechain.devnet.servers import ValkeyServer
from corechain.protocol.errors import CursorExpired, CursorUnknown
from corechain.service.database import migrate
from corechain_indexer.api.newest import Newest
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.relay import FIELD, entry_number
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.events import BatchEvent, Cursor, EventLog
from corechain_indexer.store.latest import Latest, LatestWriter
from corechain_indexer.store.latest import Newest as LatestValue
from indexer.event_books import KEY, Books, books_on, opened
from indexer.shelves import Fuse, Killed, Mortal

LOG = "0020_batch_events.sql"


async def in_redis(books: Books) -> list[BatchEvent]:
    entries: Any = await books.redis.xrange(KEY)
    events = [msgspec.json.decode(fields[FIELD], type=BatchEvent) for _, fields in entries]
    assert [entry_number(entry_id) for entry_id, _ in entries] == [event.id for event in events]
    return events


async def cursor_at(books: Books, number: int) -> Cursor:
    return Cursor.parse((await books.log.cursor(number)).text)


# ---------------------------------------------------------------------- the log


async def test_what_happens_to_batches_is_told_once_and_in_its_order(
    tables: str, bus_url: str
) -> None:
    async with books_on(tables, bus_url) as books:
        await books.verify()
        await books.verify()
        await books.number()
        await books.undo(1)
        await books.verify()
        await books.finalise(1)
        await books.number()
        await books.number()
        assert await books.story() == [
            ("new", 1), ("new", 2), ("undone", 2), ("new", 2), ("final", 1)
        ]  # fmt: skip
        events = await books.events()
        assert [event.id for event in events] == [1, 2, 3, 4, 5]
        assert events[1].block_hash == events[2].block_hash != events[3].block_hash
        assert (events[0].finality, events[4].finality) == ("pending", "finalised")
        assert (events[4].readings, events[4].window_start, events[4].window_end) == (7, 100, 200)


async def test_a_batch_that_was_undone_does_not_become_final_by_the_block_of_another_branch(
    tables: str, bus_url: str
) -> None:
    async with books_on(tables, bus_url) as books:
        await books.verify()
        await books.number()
        # Both before the log is written again: its end comes with the block of the other branch.
        await books.undo(0)
        await books.finalise(5)
        await books.number()
        assert await books.story() == [("new", 1), ("undone", 1)]
        await books.verify()
        await books.number()
        assert (await books.story())[2:] == [("new", 1), ("final", 1)]


async def test_a_verdict_that_goes_while_its_batch_stays_is_undone(
    tables: str, bus_url: str
) -> None:
    async with books_on(tables, bus_url) as books:
        await books.verify()
        await books.pool.execute("update batch_file set state = 'mismatch'")
        await books.pool.execute("update batch_file set state = 'verified'")
        await books.pool.execute("delete from batch_file")
        await books.number()
        assert [kind for kind, _ in await books.story()] == ["new", "undone", "new", "undone"]


async def test_two_indexes_of_one_chain_tell_the_same_of_what_is_final(
    postgres_server: Any, tables: str, bus_url: str
) -> None:
    """Their verifiers settle batches in another order, and one of them has seen a reorg."""
    other_database = postgres_server.create_database("other_index")
    try:
        async with books_on(tables, bus_url) as one, books_on(other_database, bus_url) as other:
            for number in (1, 2, 3):
                await one.verify(number)
            await one.number()
            await other.verify(9)
            await other.number()
            await other.undo(0)
            for number in (3, 1, 2):
                await other.verify(number)
            for books in (one, other):
                await books.finalise(3)
                await books.number()
            finals = [
                [event.batch_id for event in await books.events() if event.type == "final"]
                for books in (one, other)
            ]
            assert finals == [[1, 2, 3], [1, 2, 3]]
    finally:
        postgres_server.drop_database("other_index")


async def test_batches_of_before_there_was_a_log_are_told_unless_they_were_final_and_told(
    empty_database: str, bus_url: str
) -> None:
    await migrate(empty_database, [item for item in MIGRATIONS if item[0] < LOG])
    async with opened(empty_database, bus_url) as books:
        for _ in range(3):
            await books.verify()
        await books.finalise(2)
        # The first one was told already, by the outbox of before.
        await books.pool.execute("delete from outbox where batch_id = 1")
        await migrate(empty_database, MIGRATIONS)
        await books.number()
        assert await books.story() == [("new", 2), ("new", 3), ("final", 2)]


# ---------------------------------------------------------------------- cursors


async def test_a_cursor_of_nothing_is_refused() -> None:
    packed = urlsafe_b64encode(struct.pack(">6sIQ", b"abcdef", 1, 2)).decode()
    assert Cursor.parse(packed) == Cursor(b"abcdef", 1, 2)
    for text in ("", "x", "é" * 24, packed[:-1], packed + "A", "=" * 24, "!" * 24):
        with pytest.raises(CursorUnknown):
            Cursor.parse(text)


async def test_a_cursor_of_another_log_or_another_history_is_refused(
    tables: str, bus_url: str
) -> None:
    async with books_on(tables, bus_url) as books:
        await books.verify()
        await books.number()
        known = await cursor_at(books, 1)
        await books.log.require(known)
        await books.log.require(await cursor_at(books, 0))
        for other in (
            Cursor(bytes(6), known.tag, 1),
            Cursor(known.generation, known.tag ^ 1, 1),
            Cursor(known.generation, known.tag, 2),
        ):
            with pytest.raises(CursorUnknown):
                await books.log.require(other)


async def test_a_cursor_whose_events_are_gone_is_told_where_to_go_on(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corechain_indexer.store.events.PRUNED_FROM", 1)
    async with books_on(tables, bus_url, keep=3) as books:
        await books.verify()
        await books.number()
        first = await cursor_at(books, 1)
        for _ in range(5):
            await books.verify()
        await books.finalise(6)
        await books.number()
        await books.verify()
        await books.number()
        head = await books.log.head()
        assert head.newest - head.pruned == 3
        with pytest.raises(CursorExpired) as refused:
            await books.log.require(first)
        newest = Cursor.parse(refused.value.newest)
        assert newest.number == head.newest
        await books.log.require(newest)
        await books.log.require(await cursor_at(books, head.pruned))
        kept = [event.id for event in await books.events() if event.id > head.pruned]
        assert kept == list(range(head.pruned + 1, head.newest + 1))


# ---------------------------------------------------------------------- Redis


async def lose_all(books: Books) -> None:
    await books.redis.flushall()


async def lose_the_first(books: Books) -> None:
    entries: Any = await books.redis.xrange(KEY, count=1)
    await books.redis.xdel(KEY, entries[0][0])


async def lose_the_last(books: Books) -> None:
    entries: Any = await books.redis.xrevrange(KEY, count=1)
    await books.redis.xdel(KEY, entries[0][0])


async def be_of_another_index(books: Books) -> None:
    await books.redis.delete(KEY)
    foreign = (await books.events())[0]
    text = Cursor(bytes(6), 0, 999).text
    document = msgspec.json.encode(msgspec.structs.replace(foreign, id=999, cursor=text))
    await books.redis.xadd(KEY, {FIELD: document}, id="999-0")


async def hold_something_else(books: Books) -> None:
    await books.redis.delete(KEY)
    await books.redis.xadd(KEY, {"what": "else"}, id="3-0")


HARMS = [lose_all, lose_the_first, lose_the_last, be_of_another_index, hold_something_else]


@pytest.mark.parametrize("is_restarted", [True, False])
async def test_whatever_redis_has_lost_is_filled_in_again(
    tables: str, bus_url: str, is_restarted: bool
) -> None:
    async with books_on(tables, bus_url) as books:
        for harm in HARMS:
            for _ in range(4):
                await books.verify()
            await books.tell()
            assert await in_redis(books) == await books.events()
            await harm(books)
            await books.verify()
            if is_restarted:
                books.restart_relay()
            await books.tell()
            assert await in_redis(books) == await books.events(), harm


async def test_a_killed_relay_is_finished_by_the_next_whichever_step_it_died_at(
    tables: str, bus_url: str
) -> None:
    async with books_on(tables, bus_url) as books:
        steps = 0
        while True:
            await lose_all(books)
            await books.verify()
            await books.tell()
            await books.undo(0)
            await books.verify()
            await books.number()
            books.restart_relay()
            fuse = Fuse(steps)
            books.relay.redis = Mortal(books.redis, fuse)  # type: ignore[assignment]
            books.relay.log = EventLog(Mortal(books.pool, fuse))  # type: ignore[arg-type]
            with suppress(Killed):
                await books.pass_on()
            books.restart_relay()
            await books.tell()
            assert await in_redis(books) == await books.events()
            await books.undo(0)
            if not fuse.burnt:
                break
            steps += 1
        assert steps > 8


async def test_the_stream_in_redis_is_the_newest_piece_of_the_log(
    tables: str, bus_url: str
) -> None:
    async with books_on(tables, bus_url, length=100) as books:
        for _ in range(250):
            await books.verify()
        await books.tell()
        held = await in_redis(books)
        # Redis trims by whole nodes of a hundred entries.
        assert 100 <= len(held) <= 250
        assert held == (await books.events())[-len(held) :]
        books.length = 200
        books.restart_relay()
        await books.tell()
        assert len(await in_redis(books)) >= 200


async def test_a_database_that_was_set_back_becomes_another_log(tables: str, bus_url: str) -> None:
    async with books_on(tables, bus_url) as books:
        for _ in range(3):
            await books.verify()
        await books.tell()
        told = await cursor_at(books, 3)
        # As from a backup: the log knows less than it has told, and goes on otherwise.
        await books.pool.execute("delete from batch_event where id > 1")
        await books.pool.execute("update batch_event_log set newest = 1")
        books.restart_relay()
        await books.tell()
        await books.verify()
        await books.verify()
        await books.tell()
        with pytest.raises(CursorUnknown):
            await books.log.require(told)
        assert await in_redis(books) == await books.events()


async def test_events_are_numbered_while_redis_is_away(tmp_path: Path, tables: str) -> None:
    with ValkeyServer(tmp_path / "valkey") as valkey:
        async with books_on(tables, valkey.url) as books:
            await books.verify()
            await books.tell()
            valkey.kill()
            await books.verify()
            await books.number()
            assert await books.story() == [("new", 1), ("new", 2)]
            with pytest.raises(CacheUnavailable):
                await books.pass_on()
            valkey.start()
            await books.pass_on_after_outage()
            assert await in_redis(books) == await books.events()


# ---------------------------------------------------------------------- clusters


class ClusterServer(ValkeyServer):
    """One node in cluster mode that owns every slot: it refuses keys of two slots in a command."""

    def _command(self) -> Command:
        command = super()._command()
        return replace(command, arguments=[*command.arguments, "--cluster-enabled", "yes"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ClusterServer(tmp_path_factory.mktemp("cluster") / "valkey") as server:
        command(server.port, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        assert eventually(lambda: b"cluster_state:ok" in command(server.port, "CLUSTER", "INFO"))
        yield server


async def test_a_cluster_takes_every_command_of_the_indexer(
    tables: str, cluster: ValkeyServer
) -> None:
    async with books_on(tables, cluster.url) as books:
        with pytest.raises(ClusterCrossSlotError):
            await books.redis.mget("one", "two")
        for _ in range(3):
            await books.verify()
        await books.tell()
        await lose_all(books)
        await books.tell()
        assert await in_redis(books) == await books.events()
        newest = Newest(books.redis, books.log, KEY)
        await newest.open()
        await books.verify()
        await books.tell()
        assert [event.batch_id for event in await newest._passed_on()] == [4]
        devices = [bytes([number]) * 20 for number in range(1, 4)]
        values = {device: [LatestValue(1, 100, 5, 1, "0", 1, 0)] for device in devices}
        writer = LatestWriter(books.redis, "generation")
        await writer.replace(values)
        assert await writer.add(values) == []
        latest = Latest(books.redis, books.pool)
        held = await latest._held(devices)
        assert all(held[device].values for device in devices)
        await latest.close()
