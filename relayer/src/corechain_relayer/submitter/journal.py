"""The submitter's side of the journal. Every write is one statement or one transaction."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from corechain.service.database import asked, outages
from corechain.service.errors import StoreUnavailable
from corechain_relayer.errors import LaneHalted
from corechain_relayer.journal.batches import NewIntent
from corechain_relayer.journal.sql import query
from corechain_relayer.submitter.plan import Attempt, BlockId, Fees, Intent, Policy, Receipt, State
from corechain_relayer.submitter.recall import STRAY_S, stray

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

PENDING_LIMIT = 256
"""Pending intents that are looked after at a time: each costs a question or two a round."""


def _attempt(row: "Record") -> Attempt:
    return Attempt(
        row["hash"],
        row["nonce"],
        row["raw"],
        Fees(row["max_fee"], row["priority_fee"]),
        row["signed_at"],
        row["sent_at"],
        row["cancels"],
    )


def _intent(row: "Record", attempts: Sequence[Attempt]) -> Intent:
    number = row["spent_block"]
    return Intent(
        row["id"],
        row["key"],
        row["target"],
        row["calldata"],
        State(row["state"]),
        row["nonce"],
        tuple(attempts),
        None if number is None else BlockId(number, row["spent_hash"]),
        row["failures"],
        row["halt_kind"],
        row["cancel"],
        row["bump"],
        row["wait_kind"],
    )


def _stray(row: "Record") -> Intent:
    return stray(row["id"], row["key"], row["target"], row["calldata"], _attempt(row))


def _columns(blocks: Collection[BlockId]) -> tuple[list[int], list[bytes]]:
    """Parallel arrays (number, hash)."""
    return [block.number for block in blocks], [block.hash for block in blocks]


def _blocks(rows: "Sequence[Record]") -> list[BlockId]:
    return [BlockId(row["block_number"], row["block_hash"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands still in a queue, oldest intent first; why an operator has paused it, None when
    nobody has; when an operator last wanted something of a pending intent."""

    halts: Sequence[LaneHalted] = ()
    pause: str | None = None
    wish: datetime | None = None

    @property
    def orders(self) -> tuple[str | None, datetime | None]:
        """Is another value when an operator wants something new."""
        return self.pause, self.wish


@dataclass(frozen=True, slots=True)
class IntentJournal:
    """Intents of one queue, signed for by one sender. Raises StoreUnavailable."""

    connection: "Conn"
    queue: str

    async def want(self, key: str, target: bytes, calldata: bytes) -> None:
        """Records an intent; one of the same key is left as it is, unless it is void: whoever wants
        it now knows that it was given up before."""
        new = NewIntent(self.queue, key, target, calldata)
        fields = (new.queue, new.key, new.target, new.calldata)
        await asked(self.connection.execute(query("begin_intent"), *fields))

    # ------------------------------------------------------------------ what there is to do

    async def open_intents(
        self, ordered: bool, paused: Collection[int], queued: int = 1
    ) -> list[Intent]:
        """What a round looks at: pending ones, and of the queued ones as many as asked for. In an
        ordered queue in its order; in another one the queued ones come last, the most urgent first,
        without those that are halted or paused.

        However many confirmed, queued or paused ones there are, they take nobody's place here.
        """
        fetch = self.connection.fetch
        rows = await asked(fetch(query("pending_intents"), self.queue, PENDING_LIMIT))
        attempts = await self._attempts([row["id"] for row in rows])
        if ordered:
            rows += await asked(fetch(query("oldest_queued"), self.queue, queued))
            rows.sort(key=lambda row: row["id"])
        else:
            rows += await asked(fetch(query("most_urgent"), self.queue, list(paused), queued))
        return [_intent(row, attempts[row["id"]]) for row in rows]

    async def _attempts(self, ids: list[int]) -> dict[int, list[Attempt]]:
        attempts: dict[int, list[Attempt]] = defaultdict(list)
        for row in await asked(self.connection.fetch(query("attempts_of"), ids)) if ids else ():
            attempts[row["intent_id"]].append(_attempt(row))
        return attempts

    async def unfinished(self) -> bool:
        """Whether something of the queue is in no block yet."""
        return bool(await asked(self.connection.fetchval(query("unfinished"), self.queue)))

    async def transaction(self, key: str) -> bytes:
        """The transaction that did a confirmed intent."""
        row = await asked(self.connection.fetchrow(query("intent_state"), key))
        assert row is not None, key
        return bytes(row["transaction"])

    async def free_nonces(self, sender: bytes, count: int, number: int) -> list[int]:
        """The lowest nonces from `count` on that the journal has not signed for, ascending."""
        rows = await asked(self.connection.fetch(query("free_nonces"), sender, count, number))
        return [row["candidate"] for row in rows]

    async def strays(self, sender: bytes, count: int, now: float) -> list[Intent]:
        """What was given up and would land where a reorg gives back the nonces from `count` on: as
        intents to be cancelled, by nonce, each with its dearest attempt. `now`: in seconds since
        1970; what is older than `STRAY_S` lands no more."""
        fields = (self.queue, sender, count, now - STRAY_S)
        return [_stray(row) for row in await asked(self.connection.fetch(query("strays"), *fields))]

    # ------------------------------------------------------------------ before the block

    async def void(self, intent: Intent, why: str) -> None:
        """Ends an intent that is not needed any more, signed for or not."""
        await asked(self.connection.execute(query("void_intent"), intent.id, why))

    async def drop_queued(self) -> None:
        """Drops what nothing is signed for now; what once was signed for stays, as void."""
        with outages():
            async with self.connection.transaction():
                await self.connection.execute(query("forget_queued"), self.queue)
                await self.connection.execute(query("void_queued"), self.queue)

    async def record(self, signed: Sequence[tuple[Intent, Attempt]], sender: bytes) -> None:
        """Binds the nonces and keeps the signed bytes, before anybody else sees them: all or none.

        Raises StoreUnavailable when an intent is not any more what it was read as.
        """
        with outages():
            async with self.connection.transaction():
                await self._record([(intent.id, attempt) for intent, attempt in signed], sender)

    async def record_new(self, intent: Intent, sender: bytes, attempt: Attempt) -> None:
        """The same for an intent that is not in the journal yet, or was void."""
        with outages():
            async with self.connection.transaction():
                fields = (self.queue, intent.key, intent.target, intent.calldata)
                number = await self.connection.fetchval(query("begin_intent"), *fields)
                await self._record([(number, attempt)], sender)

    async def _record(self, signed: Sequence[tuple[int | None, Attempt]], sender: bytes) -> None:
        ids = [number for number, _ in signed]
        attempts = [attempt for _, attempt in signed]
        nonces = [attempt.nonce for attempt in attempts]
        bound = await self.connection.fetchval(query("claim_nonces"), sender, ids, nonces)
        if bound != len(ids):
            raise StoreUnavailable(f"one of the intents {ids} has changed since it was read")
        await self.connection.execute(
            query("insert_attempts"),
            sender,
            ids,
            [attempt.hash for attempt in attempts],
            nonces,
            [attempt.raw for attempt in attempts],
            [attempt.fees.max_fee for attempt in attempts],
            [attempt.fees.priority_fee for attempt in attempts],
            [attempt.signed_at for attempt in attempts],
            [attempt.cancels for attempt in attempts],
        )

    async def mark_sent(self, attempts: Sequence[Attempt], now: float) -> None:
        hashes = [attempt.hash for attempt in attempts]
        await asked(self.connection.execute(query("mark_sent"), hashes, now))

    async def mark_spent(self, intent: Intent, block: BlockId) -> None:
        """Keeps where the nonce was seen spent without a result."""
        fields = (intent.id, block.number, block.hash)
        await asked(self.connection.execute(query("mark_spent"), *fields))

    async def renew(self, intent: Intent, failures: int) -> None:
        """Back to the queue, for a fresh nonce; its attempts stay in the journal."""
        await asked(self.connection.execute(query("renew"), intent.id, failures))

    async def unbind(self, intent: Intent, why: LaneHalted) -> None:
        """Back to the queue, halted; the nonce is free again, as no node took what was signed with
        it. Queued without its halt it would be signed anew, above what came after it."""
        with outages():
            async with self.connection.transaction():
                await self.connection.execute(query("refuse_attempts"), intent.id, intent.nonce)
                await self._renew_halted(intent, why, 0)

    async def give_up(self, intent: Intent, why: LaneHalted) -> None:
        """Back to the queue, halted; its nonce is spent for good by a transaction that reverted."""
        with outages():
            async with self.connection.transaction():
                await self._renew_halted(intent, why, 1)

    async def _renew_halted(self, intent: Intent, why: LaneHalted, failures: int) -> None:
        # Renewed first: what an operator wants cancelled is void then, and is not halted.
        await self.connection.execute(query("renew"), intent.id, failures)
        await self.connection.execute(query("halt"), intent.id, why.kind, why.reason)

    # ------------------------------------------------------------------ in a block

    async def confirm(self, done: Sequence[tuple[Intent, Receipt]]) -> None:
        """All at once: a crash between two of them would cost nothing, statements do."""
        receipts = [receipt for _, receipt in done]
        await asked(
            self.connection.execute(
                query("confirm"),
                [intent.id for intent, _ in done],
                [receipt.hash for receipt in receipts],
                [receipt.block_number for receipt in receipts],
                [receipt.block_hash for receipt in receipts],
                [receipt.gas_used for receipt in receipts],
            )
        )

    async def newest_confirmed_blocks(self, limit: int) -> list[BlockId]:
        """Blocks with confirmed intents, newest first."""
        name = query("newest_confirmed_blocks")
        return _blocks(await asked(self.connection.fetch(name, self.queue, limit)))

    async def confirmed_blocks_through(self, final_block: int, limit: int) -> list[BlockId]:
        """The oldest blocks with confirmed intents, up to `final_block`."""
        name = query("confirmed_blocks_through")
        return _blocks(await asked(self.connection.fetch(name, self.queue, final_block, limit)))

    async def unconfirm(self, blocks: Collection[BlockId]) -> list[str]:
        """Takes back what was confirmed in these blocks; the keys."""
        columns = _columns(blocks)
        rows = await asked(self.connection.fetch(query("unconfirm"), self.queue, *columns))
        return [row["key"] for row in rows]

    async def finalize(self, blocks: Collection[BlockId]) -> None:
        """What was confirmed in these blocks is final, all at once."""
        columns = _columns(blocks)
        await asked(self.connection.execute(query("finalize"), self.queue, *columns))

    # ------------------------------------------------------------------ operators

    async def note_waits(self, waits: Mapping[int, tuple[str, str]]) -> None:
        """What intents wait for, by id: a kind, and a sentence."""
        kinds, reasons = [kind for kind, _ in waits.values()], [why for _, why in waits.values()]
        await asked(self.connection.execute(query("note_waits"), list(waits), kinds, reasons))

    async def forget_waits(self, ids: Sequence[int]) -> None:
        """These wait for nothing more."""
        await asked(self.connection.execute(query("forget_waits"), ids))

    async def note_look(
        self, sender: bytes, policy: Policy, problem: str | None
    ) -> dict[State, int]:
        """That somebody looks after the queue, by which key and limits, and what is in the way.
        How many intents are in each state that is not the last."""
        limits = (policy.max_fee, policy.in_flight, policy.ordered)
        fields = (self.queue, sender, *limits, problem)
        rows = await asked(self.connection.fetch(query("note_look"), *fields))
        return {State(row["state"]): row["number"] for row in rows}

    # ------------------------------------------------------------------ money

    async def note_costs(self, receipts: Collection[Receipt]) -> None:
        """Counts what transactions of ours have cost, each once. They were sent, then."""
        hashes = [receipt.hash for receipt in receipts]
        costs = [str(receipt.fee) for receipt in receipts]
        await asked(self.connection.execute(query("note_costs"), self.queue, hashes, costs))

    async def spent_in_a_day(self) -> int:
        """Wei, of the whole hours that began within the last 24."""
        return int(await asked(self.connection.fetchval(query("spent_in_a_day"), self.queue)))

    # ------------------------------------------------------------------ halts

    async def halt(self, intent: Intent, why: LaneHalted) -> None:
        """The intent stands still until it is released, whatever process comes next."""
        fields = (intent.id, why.kind, why.reason)
        await asked(self.connection.execute(query("halt"), *fields))

    async def release(self, intent: Intent) -> None:
        """Try it again."""
        await asked(self.connection.execute(query("release"), self.queue, intent.key))

    async def halts(self) -> list[LaneHalted]:
        """What stands still in this queue, oldest intent first."""
        return list((await self.standing()).halts)

    async def standing(self) -> Standing:
        """One question a round."""
        rows = await asked(self.connection.fetch(query("queue_standing"), self.queue))
        halts = [
            LaneHalted(row["key"], row["halt_reason"], row["halt_kind"])
            for row in rows
            if row["key"] is not None
        ]
        return Standing(halts, rows[0]["pause"], rows[0]["wish"])
