"""Lanes of the transaction bench: queues of their own accounts, driven by the landed submitter.

A lane here is one queue, one key, one window without an order. What it sends is a call with 36
bytes to an address without code, so that what is measured is ours and not a contract's.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from corechain.protocol.hashing import keccak
from corechain.service.database import writer
from corechain.service.rpc import Rpc
from corechain_relayer.journal.sql import query
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent, Policy
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import Found
from corechain_relayer.submitter.signer import Signer

TARGET = bytes(19) + b"\x99"
CALLDATA = bytes(4) + b"\x01" * 32
MAX_FEE = 10**12
IDLE_S = 0.25
JOURNAL, SIGN, SEND, CONFIRM, REST = "journal", "sign", "send", "confirm", "rest"
STAGE_OF = {
    # What asks whether and where transactions are in blocks, and writes it down.
    **dict.fromkeys(("receipts", "confirm", "note_costs"), CONFIRM),
    **dict.fromkeys(("confirmed_blocks_through", "newest_confirmed_blocks", "finalize"), CONFIRM),
    **dict.fromkeys(("look", "estimates", "send", "pool_count"), SEND),
    "signed": SIGN,
}
"""By method; every other one of the journal is of stage journal."""


def key_of(lane: int, part: str) -> str:
    return keccak(f"bench {part} {lane}".encode()).hex()


async def none_settled(intents: Sequence[Intent]) -> list[Found]:
    """Nobody else does what these intents are for. What a real queue asks differs by its kind."""
    return [None for _ in intents]


class Timed:
    """Stands for a part of a submitter and adds up this process's CPU while one of its methods
    runs. That is the method's own only while nothing else runs in the process."""

    def __init__(self, part: Any, spent: dict[str, float], calls: "Counter[str]") -> None:
        self._part, self._spent, self._calls = part, spent, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def timed(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return await found(*arguments, **named)
            finally:
                self._spent[self._stage(name)] += time.process_time() - started
                self._calls[name] += 1

        return timed

    def _stage(self, name: str) -> str:
        if name == "standing" and isinstance(self._part, Node):
            return CONFIRM
        return STAGE_OF.get(name, JOURNAL)


@dataclass
class Lane:
    """One queue and its submitter. `wanted`: intents that it has been given."""

    submitter: Submitter
    connection: Any
    wanted: int = 0
    want: Callable[..., Any] = field(init=False)

    def __post_init__(self) -> None:
        self.want = self.connection.fetch

    @property
    def queue(self) -> str:
        return self.submitter.journal.queue

    async def feed(self, number: int) -> None:
        """So many more intents, in one statement, as the guard writes its own."""
        first, self.wanted = self.wanted, self.wanted + number
        keys = [f"{self.queue}:{n}" for n in range(first, self.wanted)]
        calls, due = [CALLDATA] * number, [None] * number
        await self.want(query("want_in_time"), self.queue, TARGET, keys, calls, due)

    async def in_blocks(self) -> int:
        """Of this lane's transactions."""
        return int(await self.submitter.node.count(self.submitter.signer.address))

    async def in_state(self, *states: str) -> int:
        sql = "select count(*) from intent where queue = $1 and state = any($2)"
        return int(await self.connection.fetchval(sql, self.queue, states))

    async def drive(self, window: int, until: float) -> None:
        """Never short of intents until then; afterwards until all of them are in blocks."""
        queued = 0
        while True:
            feeding = time.perf_counter() < until
            if feeding and queued < window:
                await self.feed(2 * window)
            did = await self.submitter.step()
            queued = await self.in_state("queued")
            if not feeding and not queued and not await self.in_state("pending"):
                return
            if not did:
                await asyncio.sleep(IDLE_S)

    async def gaps(self) -> int:
        """Nonces of the chain that are not those of exactly one confirmed intent, and reversed."""
        count = await self.in_blocks()
        rows = await self.connection.fetch(
            "select nonce from intent where queue = $1 and state in ('confirmed', 'final')",
            self.queue,
        )
        found = Counter(row["nonce"] for row in rows)
        wrong = sum(1 for nonce in range(count) if found[nonce] != 1)
        return wrong + sum(1 for nonce in found if nonce >= count) + (self.wanted - len(rows))


@dataclass(frozen=True, slots=True)
class Stand:
    """Where lanes run. `window`: transactions of a lane in flight."""

    node_url: str
    database: str
    chain_id: int
    window: int

    @asynccontextmanager
    async def lane(
        self, number: int, part: str, timed: Callable[[Any], Any] = lambda part: part
    ) -> AsyncIterator[Lane]:
        signer = Signer.of(key_of(number, part), self.chain_id)
        rpc = Rpc(self.node_url, 60.0)
        node = timed(Node(rpc, 64, MAX_FEE, 10**9))
        policy = Policy(60, 120, 5, MAX_FEE, ordered=False, in_flight=self.window)
        async with writer(self.database, signer.lock) as connection:
            journal = cast("IntentJournal", timed(IntentJournal(connection, f"{part}:{number}")))
            parts = (journal, node, timed(signer), none_settled, policy, Metrics())
            try:
                yield Lane(Submitter(*parts), connection)
            finally:
                await rpc.close()

    @asynccontextmanager
    async def lanes(self, number: int, part: str) -> AsyncIterator[list[Lane]]:
        async with AsyncExitStack() as stack:
            entered = [stack.enter_async_context(self.lane(n, part)) for n in range(number)]
            yield [await lane for lane in entered]


async def stages(stand: Stand, number: int) -> dict[str, Any]:
    """CPU µs a transaction by stage, and calls: one lane alone, so that all CPU of the process
    during a stage is that stage's."""
    spent: dict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    async with stand.lane(0, "stages", lambda part: Timed(part, spent, calls)) as lane:
        started = time.process_time()
        while lane.wanted < number:
            before = time.process_time()
            await lane.feed(stand.window)
            spent[JOURNAL] += time.process_time() - before
            while await lane.in_state("queued", "pending"):
                if not await lane.submitter.step():
                    await asyncio.sleep(IDLE_S)
        whole = time.process_time() - started
        assert not await lane.gaps()
        done = lane.wanted
    spent[REST] = whole - sum(spent.values())
    by_stage = {name: 1e6 * seconds / done for name, seconds in spent.items()}
    return {"by_stage": by_stage, "calls": {n: c / done for n, c in calls.most_common()}}
