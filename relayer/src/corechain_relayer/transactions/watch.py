"""Looks after the queues whose submitters run in this process: is a key short of funds, does a
queue's head stand still, is there a gap in its nonces, is it paused, is a deadline near."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.service.alerting.alerts import condition
from corechain.service.alerting.book import Condition
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Questions
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.grounds import REGISTRATION_GONE, ROOT_REPLACED
from corechain_relayer.submitter.node import NO_FUNDS
from corechain_relayer.submitter.urgency import Pace
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.node_facts import NodeAway, NodeFacts, ask_node
from corechain_relayer.transactions.rows import Health
from corechain_relayer.transactions.settings import TransactionSettings
from corechain_relayer.transactions.spending import Sample, days_left

if TYPE_CHECKING:
    from corechain.service.database import Database

EVERY_S = 15.0
GONE = (REGISTRATION_GONE, ROOT_REPLACED)
"""What intents wait for when a reorg has taken what they rest on."""
LOW_BALANCE, STUCK_HEAD, NONCE_GAP = "low_balance", "stuck_head", "nonce_gap"
PAUSED, DEADLINE, GROUNDS = "queue_paused", "deadline_at_risk", "grounds_gone"
KINDS = (LOW_BALANCE, STUCK_HEAD, NONCE_GAP, PAUSED, DEADLINE, GROUNDS)
"""Kinds of alerts, as receivers get them."""
LATE_SHARE = 4
"""With less than a fourth of a window left, what is in no block is an alert: as the guard's."""
OF_THE_NODE = (LOW_BALANCE, NONCE_GAP)
"""Kinds that nobody can judge while the node is away."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A queue and the key that signs for it. `pace`: its nearest deadline, by chain time."""

    queue: str
    sender: bytes
    pace: Callable[[], Pace] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """When something is an alert."""

    days: float
    stuck_s: float

    @classmethod
    def of(cls, settings: TransactionSettings) -> "Limits":
        return cls(settings.low_balance_days, settings.stuck_after_s)


@dataclass(frozen=True, slots=True)
class State:
    """Of one queue, as of one look; what the journal alone tells where the node is away."""

    watched: Watched
    health: Health
    node: NodeFacts | NodeAway
    gap: int
    days_left: float | None
    pace: Pace

    @property
    def balance(self) -> int:
        return 0 if isinstance(self.node, NodeAway) else self.node.balance or 0

    @property
    def is_late(self) -> bool:
        return self.pace.left_s * LATE_SHARE < self.pace.window_s


def conditions(state: State, limits: Limits) -> list[Condition]:
    """What an operator has to know of a queue now. Pure."""
    queue, health, found = state.watched.queue, state.health, []

    def add(kind: str, summary: str, **details: object) -> None:
        found.append(condition(kind, f"{PREFIX}{queue}", summary, queue=queue, **details))

    if state.days_left is not None and state.days_left < limits.days:
        address, balance = f"0x{state.watched.sender.hex()}", state.balance
        lasts = f"{state.days_left:.1f} days at the pace of the last days"
        # As text: a reader of JSON may take numbers for floats, and these are large.
        details = {"address": address, "balance": str(balance), "days_left": state.days_left}
        add(LOW_BALANCE, f"{queue}: {address} has {balance} wei, enough for {lasts}", **details)
    if health.age_s > limits.stuck_s and health.key is not None:
        waits = f"{health.key} is in no block after {health.age_s:.0f} s"
        help_ = f"`corechain tx explain {health.key}` says why"
        add(STUCK_HEAD, f"{queue}: {waits}; {help_}", key=health.key, age_s=health.age_s)
    if state.gap:
        missing = f"{state.gap} nonces below {health.nonce} belong to no transaction of ours"
        add(NONCE_GAP, f"{queue}: {missing}, so nothing above is mined", nonces=state.gap)
    if health.pause is not None:
        ends = f"`corechain tx resume {queue}` ends that"
        add(PAUSED, f"{queue} is paused ({health.pause}): {ends}", reason=health.pause)
    if health.wait in GONE:
        add(GROUNDS, f"{queue}: {health.key} is held: {health.why}", key=health.key)
    if state.is_late:
        left = f"{state.pace.left_s:.0f} s of {state.pace.window_s:.0f} s are left"
        add(DEADLINE, f"{queue}: an answer is in no block, and {left}", left_s=state.pace.left_s)
    return found


PREFIX = "tx:"
"""The guard's alerts lie in the same tables; theirs begin with a lane's number."""


@dataclass(slots=True)
class TransactionWatch:
    """`standing`: what is wrong by queue, as of the last look at it; a queue that could not be
    looked at keeps what it had."""

    pool: "Database"
    rpc: Questions
    limits: Limits
    metrics: Metrics
    queues: list[Watched] = field(default_factory=list)
    standing: dict[str, Sequence[Condition]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, queue: str, sender: bytes, pace: Callable[[], Pace] | None = None) -> None:
        self.queues.append(Watched(queue, sender, pace))

    async def watch_forever(self) -> None:
        """Raises StoreUnavailable, NodeUnavailable."""
        while True:
            await self.look_at_all()
            await asyncio.sleep(EVERY_S)

    async def look_at_all(self) -> None:
        """Raises StoreUnavailable; NodeUnavailable, after the last queue."""
        away: NodeUnavailable | None = None
        for watched in self.queues:
            try:
                await self.look(watched)
            except NodeUnavailable as error:
                away = error
        if away is not None:
            raise away

    async def look(self, watched: Watched) -> None:
        """Raises StoreUnavailable, NodeUnavailable; then what the journal tells is known all the
        same: a head that stands still does so for as long as a node is away."""
        state = await self._state(watched)
        found, before = conditions(state, self.limits), self.standing.get(watched.queue)
        if isinstance(state.node, NodeAway):
            found += [known for known in before or () if known.kind in OF_THE_NODE]
        self._measure(state)
        self.standing[watched.queue] = found
        if before is None or [c.kind for c in before] != [c.kind for c in found]:
            self.changed.set()
        if isinstance(state.node, NodeAway):
            raise NodeUnavailable(state.node.why)

    async def _state(self, watched: Watched) -> State:
        book = Book(self.pool)
        health = await book.health(watched.queue)
        pace = watched.pace() if watched.pace else Pace()
        node = await ask_node(self.rpc, watched.sender)
        if isinstance(node, NodeAway):
            return State(watched, health, node, 0, None, pace)
        assert node.balance is not None  # it was asked for a sender
        assert node.count is not None
        gap = await self._gap(book, watched.sender, node.count, health.nonce)
        await book.keep_balance(watched.sender, node.balance)
        samples = [*await book.balances(watched.sender), Sample(0.0, node.balance)]
        # What is left is not enough for the next transaction, so nothing is spent any more, and by
        # the pace it would last for ever.
        left = 0.0 if health.wait == NO_FUNDS else days_left(samples)
        return State(watched, health, node, gap, left, pace)

    async def _gap(self, book: Book, sender: bytes, count: int, lowest: int | None) -> int:
        """How many nonces below the lowest pending one were never signed for."""
        if lowest is None or lowest <= count or await book.owner(sender, count) is not None:
            return 0
        return lowest - count

    def _measure(self, state: State) -> None:
        queue, metrics = state.watched.queue, self.metrics
        metrics.queue_head_age.labels(queue).set(state.health.age_s)
        metrics.queue_paused.labels(queue).set(state.health.pause is not None)
        if isinstance(state.node, NodeAway):
            return
        left = state.days_left
        metrics.key_balance.labels(queue).set(state.balance)
        metrics.key_days_left.labels(queue).set(float("inf") if left is None else left)
        metrics.nonce_gap.labels(queue).set(state.gap)

    def warnings(self) -> list[str]:
        """For `/ready`."""
        return [found.summary for each in self.standing.values() for found in each]
