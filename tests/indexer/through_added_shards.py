"""Shards on servers of their own are doubled while an index mirrors, verifies and answers. `make
test-shards` runs this; pytest does not collect it by itself, for it starts four Postgres.

given two shards, batches that come and pages that are asked for all the time
  when `corechain indexer shards add` is killed (-9) while it copies, twice, and run again
  └── every page is of the list, no reading twice, and has all that was verified before
  when a shard is killed (-9), and comes back
  └── its devices' pages are refused meanwhile, the others' are not, and nothing is lost
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.cluster import record
from support.command import COMMAND, environment
from support.limits import within
from support.processes import PATIENCE_S

from corechain.devnet.postgres import PostgresServer
from corechain.service.errors import StoreUnavailable
from corechain_indexer.store.shards.databases import owner_of
from indexer.support import Driven, World, driven, more_keys, settings_of

FIRST, SHARDS = 45, 4
OK, AWAY = 200, 503


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[PostgresServer]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(PostgresServer(tmp_path / f"shard{number}"))
            for number in range(SHARDS)
        ]


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of a device. `verified`: batches that were so before it was asked for."""

    at: float
    took_s: float
    device: bytes
    status: int
    verified: frozenset[int]
    values: list[tuple[int, int]]

    def is_wrong(self, whole: list[tuple[int, int]]) -> bool:
        """Each batch has one reading of each device, a day later than the one before. They are
        verified side by side, in any order."""
        held = set(self.values)
        missing = {whole[number - 1] for number in self.verified} - held
        return bool(missing) or self.values != [value for value in whole if value in held]


@dataclass
class Load:
    """Batches and questions for as long as it runs."""

    index: Driven
    world: World
    answers: list[Answer] = field(default_factory=list)
    added: int = 0

    stops: bool = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ingest())
            tasks.create_task(self._ask())
            try:
                yield
            finally:
                self.stops = True

    async def _ingest(self) -> None:
        while not self.stops:
            await asyncio.to_thread(self.world.add, hours=1)
            self.added += 1
            with suppress(StoreUnavailable):  # while a shard is away nothing is verified
                await self.index.settle()

    async def _ask(self) -> None:
        async with self.index.api() as api:
            while not self.stops:
                for key in self.world.keys:
                    await self._page(api, key.identity.device)
                    await asyncio.sleep(0.01)

    async def _page(self, api: Any, device: bytes) -> None:
        verified = await self.verified()
        words = {"device": "0x" + device.hex(), "metric": "air_temperature", "limit": "1000"}
        begun = time.monotonic()
        said = await api.get("/v1/readings", params=words)
        took = time.monotonic() - begun
        rows = said.json()["items"] if said.status_code == OK else []
        values = [(row["observed_at"], row["value"]) for row in rows]
        answer = Answer(begun, took, device, said.status_code, verified, values)
        self.answers.append(answer)

    async def page(self, device: bytes) -> list[tuple[int, int]]:
        async with self.index.api() as api:
            await self._page(api, device)
        return self.answers.pop().values

    async def verified(self) -> frozenset[int]:
        query = "select batch_id from batch_file where state = 'verified'"
        return frozenset(row["batch_id"] for row in await self.index.indexer.pool.fetch(query))

    async def after(self, count: int) -> float:
        """When so many more answers are there."""
        wanted = len(self.answers) + count
        await until(lambda: len(self.answers) >= wanted)
        return time.monotonic()

    async def refused(self) -> None:
        """Until a page was, and every other device was asked after that."""
        await until(lambda: any(answer.status == AWAY for answer in self.answers))
        await self.after(SHARDS)

    def p95_ms(self, start: float, end: float) -> float:
        took = [answer.took_s for answer in self.answers if start <= answer.at < end]
        return round(1e3 * statistics.quantiles(took, n=20)[-1], 1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # what changes it has no event
            await asyncio.sleep(0.01)


async def add_shards(changes: dict[str, str], *, kill_at: int = 0) -> None:
    """Kills it when it has said so many lines of what it copies; 0: waits until it is done."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "indexer", "shards", "add",
        env=environment(changes), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    copied = 0
    async for line in process.stdout:
        copied += line.startswith(b"copy: ")
        if kill_at and copied >= kill_at:
            process.kill()
            break
    code = await within(PATIENCE_S, process.wait())
    assert (code == 0) is (not kill_at), code


def spread(world: World) -> None:
    """One device on each of the four shards."""
    one_each = {owner_of(key.identity.device, SHARDS): key for key in more_keys(0, 100)}
    assert len(one_each) == SHARDS
    world.keys = list(one_each.values())
    world.register()


async def test_shards_are_doubled_and_one_is_killed_under_load(
    world: World, deployment: Path, database: str, bus_url: str, servers: list[PostgresServer]
) -> None:
    spread(world)
    urls = [server.database_url("postgres") for server in servers]
    named = {"shard_urls": " ".join(urls)}
    settings = settings_of(world, database, bus_url, **named)
    async with driven(settings_of(world, database, bus_url, shard_urls=" ".join(urls[:2])), world):
        pass  # an index of two shards
    changes = {
        "INDEXER_RPC_URL": world.chain.rpc_url,
        "INDEXER_DEPLOYMENT": str(deployment),
        "INDEXER_DATABASE_URL": database,
        "INDEXER_REDIS_URL": bus_url,
        "INDEXER_DATA_URLS": settings.data_urls,
        "INDEXER_SHARD_URLS": named["shard_urls"],
    }
    for _ in range(FIRST):
        world.add(hours=1)
    async with driven(settings, world) as index:
        await index.until_verified(FIRST)
        load = Load(index, world, added=FIRST)
        async with load.running():
            begun = await load.after(20)
            await add_shards(changes, kill_at=2)
            await add_shards(changes, kill_at=3)
            await add_shards(changes)
            moved = await load.after(0)
            killed = await load.after(20)
            servers[SHARDS - 1].kill()
            await load.refused()
            servers[SHARDS - 1].start()
            assert servers[SHARDS - 1].database_url("postgres") == urls[-1]
            back = await load.after(0)
            await load.after(20)
        await index.until_verified(load.added)
        lists = {key.identity.device: await load.page(key.identity.device) for key in world.keys}
    assert {len(values) for values in lists.values()} == {load.added}
    failed = [answer for answer in load.answers if answer.status != OK]
    assert {answer.status for answer in failed} == {AWAY}
    assert {owner_of(answer.device, SHARDS) for answer in failed} == {SHARDS - 1}
    assert all(killed <= answer.at for answer in failed)
    wrong = [one for one in load.answers if one.status == OK and one.is_wrong(lists[one.device])]
    assert wrong == []
    record(
        "shards",
        kills={"shards add": 2, f"shard {SHARDS - 1}": 1},
        lost=sum(load.added - len(values) for values in lists.values()),
        wrong=len(wrong),
        queries=len(load.answers),
        queries_refused=len(failed),
        batches=load.added,
        move_s=round(moved - begun, 1),
        p95_before_ms=load.p95_ms(0, begun),
        p95_during_ms=load.p95_ms(begun, moved),
        p95_shard_away_ms=load.p95_ms(killed, back),
    )
