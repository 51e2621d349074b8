"""Twice as many shards, while questions are answered and batches are verified.

Each of N shards gives the half of its devices to a new one. The chain-wide database has the step
(`shard_layout`), and how far it has come on each shard: whoever is killed is followed by another
run, that goes on there. Whoever writes or drops segments keeps the layout as it is for the length
of its transaction; a step that changes it waits for them.

copy    batches are written to their owners of N and of 2 N; what was there before is copied
switch  both have everything; each old shard is told that it is of 2 N, and refuses from that moment
        (by the snapshot of the question) who still divides by N, and so asks again
clean   batches are written to their owners of 2 N only; what moved is deleted from the old shards
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from corechain.service.database import asked, outages
from corechain.service.errors import WrongDatabase
from corechain_indexer.store import SQL
from corechain_indexer.store.shards import SHARD_SQL
from corechain_indexer.store.shards.databases import Shard, Shards
from corechain_indexer.store.shards.division import SHARD_COLUMNS

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

AT_ONCE = 10
"""Batches copied in one transaction, under their locks: some megabytes each at the most."""
START = (-1, -(1 << 63))


@dataclass(slots=True)
class ShardMove:
    """The steps, one after another. `main` has the lock MOVER; `shards` are the old ones and as
    many new ones."""

    main: "Conn"
    shards: Shards
    told: Callable[[str], None] = lambda _: None

    async def step(self) -> bool:
        """Does a piece of the work; False when there is none. Raises StoreUnavailable,
        WrongDatabase."""
        layout = self.shards.follow(await asked(self.main.fetchrow(SQL["shard_layout"])))
        count: int = layout["count"]
        if layout["step"] == "copy":
            await self._copy_some(count)
        elif layout["step"] == "switch":
            await self._switch(count)
        elif layout["step"] == "clean":
            await self._clean_some(count)
        elif count == len(self.shards.all):
            return False
        else:
            await self._begin(count)
        return True

    async def abort(self) -> bool:
        """As it was before; False where nothing was begun. Raises WrongDatabase after the switch,
        StoreUnavailable."""
        layout = self.shards.follow(await asked(self.main.fetchrow(SQL["shard_layout"])))
        if layout["step"] is None:
            return False
        if layout["step"] != "copy":
            raise WrongDatabase("SHARD_URLS: the new shards are in use: go on with `shards add`")
        count: int = layout["count"]
        await self._change(count, None)
        for shard in self.shards.all[count:]:
            await (await self.shards.ready(shard)).empty()
        return True

    async def _change(self, count: int, step: str | None) -> None:
        """Once all who have kept the layout are done."""
        with outages():
            async with self.main.transaction():
                await self.main.execute(SQL["change_layout"])
                await self.main.execute(SQL["set_layout"], count, step)
                await self.main.execute(SQL["forget_moves"])
        self.told(step or "done")

    async def _begin(self, count: int) -> None:
        for shard in self.shards.all[:count]:
            known = await (await self.shards.ready(shard)).fetchval("shard_count")
            if known is not None and known > count:
                # A chain-wide database from before: the new shards have what this one lost.
                raise WrongDatabase(f"SHARD_URLS: {shard.name} is one of {known} already")
        for shard in self.shards.all[count:]:
            await (await self.shards.ready(shard)).fetch("forget_moved")
        await self._change(count, "copy")

    async def _switch(self, count: int) -> None:
        for shard in self.shards.all[:count]:
            await (await self.shards.ready(shard)).fetch("set_shard_count", 2 * count)
            self.told(f"switch: {shard.name} is one of {2 * count}")
        await self._change(2 * count, "clean")

    # ------------------------------------------------------------------- batch by batch

    async def _copy_some(self, count: int) -> None:
        for number in range(count):
            old, new = (self.shards.all[n] for n in (number, number + count))
            await self.shards.ready(new)
            if page := await self._page(old):
                await self._copy(old, new, page)
                await self._tell(old, f"copy: {old.name} to {new.name}")
                return
        # Nothing came behind what was copied that is not on both: who wrote it knew of this step.
        await self._change(count, "switch")

    async def _clean_some(self, count: int) -> None:
        for old in self.shards.all[: count // 2]:
            if page := await self._page(old):
                await old.fetch("drop_moved", *_keys(page), count)
                await self._note(old, page)
                await self._tell(old, f"clean: {old.name}")
                return
        await self._change(count, None)

    async def _page(self, shard: Shard) -> "Sequence[Record]":
        """The next batches of a shard."""
        row = await asked(self.main.fetchrow(SQL["moved_up_to"], shard.number))
        after = START if row is None else (row["batch_id"], row["token"])
        ready = await self.shards.ready(shard)
        return await ready.fetch("held_page", *after, AT_ONCE)

    async def _note(self, shard: Shard, page: "Sequence[Record]") -> None:
        last = page[-1]
        words = shard.number, last["batch_id"], last["token"], len(page)
        await asked(self.main.execute(SQL["note_moved"], *words))

    async def _tell(self, shard: Shard, what: str) -> None:
        said = await progress(self.main, shard)
        self.told(f"{what}: {said['moved']} batches, {said['left']} left")

    async def _copy(self, old: Shard, new: Shard, page: "Sequence[Record]") -> None:
        with outages():
            async with self.main.transaction():
                # Nobody writes or drops these meanwhile.
                await self.main.execute(SQL["lock_batches"], [row["batch_id"] for row in page])
                settled = await new.answered(_copied(old, new, page))
                await self._note(old, page)
        # That it is committed says that the locks were held until then. What does not get there,
        # the keeper settles.
        await new.fetch("settle_copied", *settled)


def _keys(rows: "Sequence[Record]") -> tuple[list[int], list[int]]:
    return [row["batch_id"] for row in rows], [row["token"] for row in rows]


async def _copied(old: Shard, new: Shard, page: "Sequence[Record]") -> tuple[list[int], ...]:
    """Puts those batches that `old` still has, and `new` has not, there. Batch, token and version
    of those that `old` knows to have been verified."""
    first, wanted = page[0], set(zip(*_keys(page), strict=True))
    # As of one moment: a batch is held with all of its segments, whatever became of our locks.
    async with (
        old.pool.acquire() as source,
        source.transaction(isolation="repeatable_read", readonly=True),
        new.pool.acquire() as target,
        target.transaction(),
    ):
        after = first["batch_id"], first["token"] - 1
        rows = await source.fetch(SHARD_SQL["held_page"], *after, AT_ONCE)
        held = {(row["batch_id"], row["token"]): row for row in rows}
        held = {key: row for key, row in held.items() if key in wanted}
        blocks = [row["block_number"] for row in held.values()]
        keys = _keys(list(held.values()))
        made = await target.fetch(SHARD_SQL["hold_copied"], *keys, blocks)
        if made:
            await _copy_segments(source, target, _keys(made), new.number)
        sure = [row for row in made if held[row["batch_id"], row["token"]]["settled"]]
        return *_keys(sure), [row["version"] for row in sure]


async def _copy_segments(
    source: Any, target: Any, batches: tuple[list[int], list[int]], number: int
) -> None:
    segments = BytesIO()
    query = SHARD_SQL["moving_segments"]
    # The new ones have the upper half of the numbers: the highest power of two in each is the old
    # count.
    total = 1 << number.bit_length()
    words = *batches, number, total
    await source.copy_from_query(query, *words, output=segments, format="binary")
    segments.seek(0)
    await target.copy_to_table("segment", source=segments, columns=SHARD_COLUMNS, format="binary")


async def progress(main: "Conn", shard: Shard) -> dict[str, int]:
    """Batches that the step has done on an old shard, and how many it has before it. Raises
    StoreUnavailable."""
    row = await asked(main.fetchrow(SQL["moved_up_to"], shard.number))
    after = START if row is None else (row["batch_id"], row["token"])
    left = await shard.fetchval("held_behind", *after)
    return {"moved": 0 if row is None else row["batches"], "left": left}


async def add_shards(
    main: "Conn", shards: Shards, told: Callable[[str], None], *, abort: bool = False
) -> bool:
    """All steps, from where the run before was ended. `main` has the lock MOVER. Closes the shards.
    False where there was nothing to do. Raises StoreUnavailable, WrongDatabase."""
    try:
        await shards.prepare(main, new=False)
        move = ShardMove(main, shards, told)
        if abort:
            return await move.abort()
        worked = False
        while await move.step():
            worked = True
        return worked
    finally:
        await shards.close()
