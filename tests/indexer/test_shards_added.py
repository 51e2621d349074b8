"""Shards are added while questions are answered and batches are verified.

given twice as many shards, and a move that is killed before or after any statement, again and again
  ├── pages, series and newest values are those of a plain list, at every moment, whoever is asked
  ├── what came, was undone or came again meanwhile counts as ever, and each device is on one shard
  └── once more shards are there, the same again
given a shard that is one of more, and somebody who does not know it
  └── every question is refused by the shard, also where there is nothing
given a process that does not name the new shards
  └── it writes nothing from the first step on, and reads rightly until the switch, then not at all
given a move that was begun
  └── it can be taken back until the switch, and begun again
given the command
  └── it does all of it, says how far it is, and has nothing to do when it is run again
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.command import corechain
from support.databases import Databases

from corechain.protocol.reading import Reading
from corechain.service.database import create_pool
from corechain.service.errors import StoreUnavailable, WrongDatabase
from corechain_indexer.store.opened import routed
from corechain_indexer.store.shards import SHARD_SQL
from corechain_indexer.store.shards.databases import DIVIDED, Shard, Shards, owner_of
from corechain_indexer.store.shards.moving import AT_ONCE, ShardMove
from corechain_indexer.store.shards.status import status_of
from indexer.shards_without_chain import (
    EVERYTHING,
    Divided,
    divided_index,
    four_shards,
    readings_of,
    times_of,
)
from indexer.test_segments import (
    CELLS,
    METRICS,
    TIMES,
    listed,
    newest_agree,
    pages_agree,
    series_agree,
)

# Each of four shards has one, by the last two bits.
HERE = [bytes([number]) * 19 + bytes([number]) for number in range(4)]


@pytest.fixture
def shard_urls(databases: Databases) -> Iterator[list[str]]:
    with four_shards(databases) as urls:
        yield urls


TOO_FEW = "names 2 shards; this index is divided over 4"


class Killed(BaseException):
    """The process is no more."""


@dataclass
class Fuse:
    """Kills before the statement `left`, counted from here."""

    left: int

    def burn(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@dataclass
class Killable:
    """A connection, or anything, each call of which burns the fuse."""

    whole: Any
    fuse: Fuse

    def __getattr__(self, name: str) -> Any:
        self.fuse.burn()
        return getattr(self.whole, name)


class KillableShard(Shard):
    """Killed before it asks, or after it was answered."""

    fuse = Fuse(1 << 30)

    async def answered(self, answer: Any) -> Any:
        try:
            self.fuse.burn()
        except Killed:
            answer.close()
            raise
        found = await super().answered(answer)
        self.fuse.burn()
        return found


@asynccontextmanager
async def mover(url: str, urls: list[str], fuse: Fuse) -> AsyncIterator[ShardMove]:
    """A process that adds shards: nothing of it is left after the fuse has burnt."""
    connection = await asyncpg.connect(url)
    shards = Shards([KillableShard(number, one) for number, one in enumerate(urls)])
    try:
        await shards.prepare(connection, new=False)
        for shard in shards.all:
            shard.fuse = fuse  # type: ignore[attr-defined]
        yield ShardMove(Killable(connection, fuse), shards)  # type: ignore[arg-type]
    finally:
        connection.terminate()
        await shards.close()


def some_readings(chance: random.Random) -> list[Reading]:
    return [
        Reading(
            chance.choice(METRICS),
            chance.choice(CELLS),
            chance.choice(HERE),  # type: ignore[arg-type]
            chance.choice(TIMES),
            chance.randint(-5, 5),
            1,
        )
        for _ in range(chance.randint(1, 9))
    ]


@dataclass
class Story:
    """What happens to an index meanwhile, and what it must answer."""

    index: Divided
    chance: random.Random
    reader: Any
    kept: list[tuple[list[Reading], int]]
    undone: list[tuple[list[Reading], int]]
    contents: int = 0

    async def keep(self) -> None:
        self.contents += 1
        items, content = some_readings(self.chance), self.contents % 256
        if self.undone and self.chance.random() < 0.5:
            items, content = self.undone.pop()
        else:
            self.undone.clear()
        if self.chance.random() < 0.3:
            await self.index.give_up(len(self.kept) + 1, items, content)
        await self.index.keep(len(self.kept) + 1, items, content)
        self.kept.append((items, content))

    async def undo(self) -> None:
        count = self.chance.randint(0, min(3, len(self.kept)))
        await self.index.undo(len(self.kept) - count)
        for _ in range(count):
            self.undone.append(self.kept.pop())

    async def clean(self) -> None:
        await self.index.keeper.step()

    async def ask(self) -> None:
        held = listed([items for items, _ in self.kept])
        page = replace(
            EVERYTHING, device=self.chance.choice(HERE), metric=self.chance.choice(METRICS)
        )
        database = self.chance.choice([self.index.database, self.reader])
        await pages_agree(database, held, page, 50)
        await series_agree(database, held, page, 3_600, 100)
        await newest_agree(database, held, page)

    async def go_on(self) -> None:
        await self.chance.choice([self.keep, self.keep, self.undo, self.clean])()
        await self.ask()


@pytest.mark.parametrize("seed", range(2))
async def test_shards_are_added_under_writes_undos_and_questions(
    database: str, shard_urls: list[str], seed: int
) -> None:
    chance = random.Random(seed)
    async with divided_index(database, shard_urls[:1]) as first:
        story = Story(first, chance, first.database, [], [])
        for _ in range(AT_ONCE + 2):
            await story.keep()
    for urls in (shard_urls[:2], shard_urls):
        async with create_pool(database) as pool:
            reader, writer = Shards.at(urls), Shards.at(urls)
            for shards in (reader, writer):
                await shards.prepare(pool, new=False)
            story.index = Divided(database, pool, writer)
            story.reader = routed(pool, reader)
            kills = await moved(story, database, urls)
            assert kills > 2
            assert (reader.count, writer.count) == (len(urls), len(urls))
            await story.ask()
            while await story.index.keeper.step():
                pass
            await each_device_is_on_one_shard(story)
            await reader.close()
            await writer.close()


async def moved(story: Story, url: str, urls: list[str]) -> int:
    """How often the move was killed before it was done."""
    kills, goes_on = 0, True
    while goes_on:
        async with mover(url, urls, Fuse(story.chance.randint(1, 40))) as move:
            try:
                while goes_on := await move.step():
                    await story.go_on()
            except Killed:
                kills += 1
        await story.go_on()
    return kills


async def each_device_is_on_one_shard(story: Story) -> None:
    shards = story.index.shards
    for shard in shards.all:
        rows = await shard.pool.fetch("select distinct device from segment")
        assert {owner_of(row["device"], len(shards.all)) for row in rows} <= {shard.number}
    counts = await asyncio.gather(
        *(s.pool.fetchval("select count(*) from segment") for s in shards.all)
    )
    assert sum(counts) > 0
    assert await story.index.pool.fetchval("select step from shard_layout") is None
    held = await story.index.held()
    assert held == list(range(1, len(story.kept) + 1))


# No segment is of these: nothing is found.
NOTHING: dict[str, Any] = {"bytea": bytes(20), "int8": 1, "int4": 1}
NOTHING |= {f"{kind}[]": [value] for kind, value in NOTHING.items()}
ASKED = sorted(name for name, query in SHARD_SQL.items() if "divided_by(" in query)


def test_every_question_says_by_how_many_it_is_divided() -> None:
    named = {name for name, query in SHARD_SQL.items() if "from segment" in query}
    of_one_batch = {"devices_of", "drop_held", "drop_moved", "forget_moved", "empty_shard"}
    assert set(ASKED) == named - of_one_batch


async def test_a_shard_of_more_refuses_every_question_of_who_knows_of_fewer(
    database: str, shard_urls: list[str]
) -> None:
    async with divided_index(database, shard_urls[:2]) as index:
        pool = index.shards.all[0].pool
        await pool.execute("update shard set count = 4")
        for name in ASKED:
            async with pool.acquire() as connection:
                prepared = await connection.prepare(SHARD_SQL[name])
                nothing = [NOTHING[kind.name] for kind in prepared.get_parameters()[:-1]]
                with pytest.raises(asyncpg.PostgresError) as refused:
                    await prepared.fetch(*nothing, 2)
                assert (refused.value.sqlstate, str(refused.value)) == (DIVIDED, "4"), name
                await prepared.fetch(*nothing, 4)


async def test_a_process_that_does_not_name_the_new_shards(
    database: str, shard_urls: list[str]
) -> None:
    moves = HERE[2]
    async with divided_index(database, shard_urls[:2]) as index:
        await index.keep(1, readings_of(moves, 10))
        async with mover(database, shard_urls, Fuse(1 << 30)) as move:
            assert await move.step()
            with pytest.raises(StoreUnavailable, match=TOO_FEW):
                await index.keep(2, readings_of(moves, 20))
            with pytest.raises(StoreUnavailable, match=TOO_FEW):
                await index.keeper.step()
            assert await times_of(index, moves) == [10]
            while await move.step():
                pass
        with pytest.raises(StoreUnavailable, match=TOO_FEW):
            await times_of(index, moves)


async def test_a_move_is_taken_back_before_the_switch_and_not_after(
    database: str, shard_urls: list[str]
) -> None:
    moves = HERE[2]
    async with divided_index(database, shard_urls[:2]) as index:
        await index.keep(1, readings_of(moves, 10))
        async with mover(database, shard_urls, Fuse(1 << 30)) as move:
            assert not await move.abort()
            assert await move.step()
            assert await move.step()
            said = await status_of(database, Shards.at(shard_urls))
            assert [(one.get("step"), one.get("moved"), one.get("left")) for one in said] == [
                ("copy", 1, 0), ("copy", 0, 0), (None, None, None), (None, None, None),
            ]  # fmt: skip
            assert await move.abort()
            await index.keep(2, readings_of(moves, 20))
            assert await times_of(index, moves) == [10, 20]
            while await index.pool.fetchval("select step from shard_layout") != "clean":
                assert await move.step()
            with pytest.raises(WrongDatabase, match="in use"):
                await move.abort()
            while await move.step():
                pass
            assert await times_of(replace_shards(index, move.shards), moves) == [10, 20]


def replace_shards(index: Divided, shards: Shards) -> Divided:
    return Divided(index.url, index.pool, shards)


async def test_the_command_adds_shards_and_says_how_far_it_is(
    database: str, shard_urls: list[str], tmp_path: Path
) -> None:
    moves = HERE[2]
    async with divided_index(database, shard_urls[:2]) as index:
        await index.keep(1, readings_of(moves, 10))
    names = ("DeviceRegistry", "DataBatches", "CoreToken", "PaymentChannels", "StateChannels")
    contracts = {name: {"address": "0x" + "07" * 20, "block": 1} for name in names}
    manifest = tmp_path / "31337.json"
    manifest.write_text(json.dumps({"chain_id": 31337, "contracts": contracts}))
    settings = {
        "INDEXER_RPC_URL": "http://127.0.0.1:9",
        "INDEXER_DEPLOYMENT": str(manifest),
        "INDEXER_DATABASE_URL": database,
        "INDEXER_REDIS_URL": "redis://127.0.0.1:9/0",
        "INDEXER_DATA_URLS": "http://127.0.0.1:9/{commitment}",
        "INDEXER_SHARD_URLS": " ".join(shard_urls),
    }
    added, again = [
        await asyncio.to_thread(corechain, "indexer", "shards", "add", *words, changes=settings)
        for words in ((), ("--abort",))
    ]
    assert (added.returncode, again.returncode) == (0, 0), added.stderr + again.stderr
    told = added.stdout.splitlines()
    assert [line for line in told if ":" not in line] == ["copy", "switch", "clean", "done"]
    assert any(line.startswith("copy: shard 0 to shard 2") for line in told)
    assert again.stdout.splitlines() == ["nothing to do"]
    async with divided_index(database, shard_urls) as index:
        assert index.shards.count == 4
        assert await times_of(index, moves) == [10]
