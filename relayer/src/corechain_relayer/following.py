"""Keeps a view of one contract's events up with the chain, through reorgs and node outages."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, cast

import structlog

from corechain.deployment import DeployedContract
from corechain.protocol.errors import ProtocolError
from corechain.protocol.events import Event
from corechain.protocol.logs import MalformedLog, decode_log
from corechain.service.chain_reader import ChainReader
from corechain.service.errors import NodeBehind, NodeRefused, NodeUnavailable
from corechain.service.known_chain import Behind, Extended, Final, MemoryChain, RolledBack
from corechain.service.reconcile import ChainReplaced, Ref
from corechain.service.rpc import Block, Log, Questions
from corechain_relayer.keeping import KeptLogs, News
from corechain_relayer.metrics import Metrics
from corechain_relayer.turns import in_turns

log = structlog.get_logger(__name__)

IMPOSSIBLE = (ProtocolError, LookupError, ValueError, ArithmeticError)
"""What a fold raises over events that our contracts never log in this order, or at all: a node says
so, and asked again it may say otherwise."""
MIN_INTERVAL_S = 0.2
"""Strangers cannot make us ask the node more often than this."""


class View(Protocol):
    """A fold over events: what a follower's `fold` moves unless it is overridden."""

    def apply(self, events: Iterable[Event]) -> None: ...


V = TypeVar("V")


def events_of(logs: Iterable[Log]) -> list[Event]:
    """The events among some logs that are ours, in order. One in an odd shape is passed over, and
    seen in the log: it must not stop everything after it."""
    decoded = (_decoded(entry) for entry in logs)
    return [event for event in decoded if event is not None]


@contextmanager
def all_told() -> Iterator[None]:
    """For who must not miss an event. Raises NodeUnavailable where one is odd: contracts of ours
    log none such, while a node may say anything."""
    try:
        yield
    except IMPOSSIBLE as error:
        raise NodeUnavailable(f"the node sent logs that cannot be: {error!r:.200}") from error


def _decoded(entry: Log) -> Event | None:
    try:
        return decode_log(list(entry.topics), entry.data)
    except MalformedLog as error:
        log.error("malformed log", block=entry.block_number, error=str(error))
        return None


@dataclass(slots=True)
class Fold(Generic[V]):
    """A view as of the newest block read, and what is needed to take blocks back from it.

    `settled` is the view as of the newest final block (None: the same as `newest`), `pending` the
    logs since. A view is copied by `deepcopy`: one that is large says how it is done cheaply.
    """

    newest: V
    forward: Callable[[V, Sequence[Log]], None]
    settled: V | None = None
    pending: list[Log] = field(default_factory=list)

    def extend(self, logs: Sequence[Log], final: bool) -> None:
        """`final`: these logs, and so all before them, will not be undone."""
        if final:
            self.settled, self.pending = None, []
        elif self.settled is None:
            self.settled = deepcopy(self.newest)
        if not final:
            self.pending += logs
        self.forward(self.newest, logs)

    def settle(self, through: int) -> None:
        """The logs up to a block are final."""
        if self.settled is not None:
            done = [entry for entry in self.pending if entry.block_number <= through]
            self.forward(self.settled, done)
            self.pending = self.pending[len(done) :]

    def roll_back(self, to: int) -> None:
        """The logs after a block did not happen. The view that was `newest` is left as it is."""
        self.pending = [entry for entry in self.pending if entry.block_number <= to]
        self.newest = deepcopy(self.newest if self.settled is None else self.settled)
        self.forward(self.newest, self.pending)


@dataclass(slots=True)
class Follower(Generic[V]):
    """Polls the chain; `view` is always a whole state as of one block."""

    rpc: Questions
    contract: DeployedContract
    new_view: Callable[[], V]
    poll_s: float
    range_blocks: int
    metrics: Metrics
    confirmations: int = 64
    kept: KeptLogs | None = None
    """What is final is read once, and kept there; None: each start reads everything."""
    topics: Sequence[bytes] = ()
    """Kinds of logs that are followed; none: all of the contract's."""
    view: V = field(init=False)
    _reader: ChainReader = field(init=False)
    _known: MemoryChain = field(init=False)
    _fold: Fold[V] = field(init=False)
    _seen: Block | None = None
    _asked_at: float = -1e9
    _read_at: float = -1e9
    """When the last look began that came to its end."""
    _read_on: float = 0.0
    """The same by the wall clock."""
    _failure: NodeBehind | NodeUnavailable | NodeRefused | None = None
    """What the look of that moment has failed with."""
    _is_away: bool = False
    """Whether the last look that came to an end has failed, and not because a node is behind: that
    one answers at once, and may have caught up."""
    _is_behind: bool = False
    _outage: str = ""
    """What ended the last look, so that the same words are logged once."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _again: "Unseen | None" = None
    """Who reads the same once more, where nothing is kept any more."""
    _is_again: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.view = self.new_view()
        self._reader = ChainReader(
            self.rpc,
            [self.contract.address],
            self.contract.block,
            self.range_blocks,
            self.confirmations,
            lambda reason: self.metrics.answers_incomplete.labels(reason).inc(),
            topics=self.topics,
        )
        self._start_over()

    def _start_over(self) -> None:
        """Nothing is known; `view` stays what it was until another one is as new."""
        self._known = MemoryChain()
        self._fold = Fold(self.new_view(), self.fold)
        if self.kept is not None:
            self.kept.start_over()

    @property
    def seen(self) -> Block | None:
        """The block as of which the view is; None before the first look."""
        return self._seen

    def age_s(self, now: float) -> float:
        """How long ago the view was as new as the node. `now`: monotonic seconds."""
        return now - self._read_at

    def is_within(self, seconds: float) -> bool:
        """Whether it was so in the last `seconds`, by both clocks: monotonic ones stand still while
        a machine sleeps, or is moved. A wall clock that is set forward costs a look."""
        ages = self.age_s(time.monotonic()), time.time() - self._read_on
        return max(ages) <= seconds

    def warnings(self) -> list[str]:
        """For `/ready`."""
        keeping = [self.kept, None if self._again is None else self._again.kept]
        told = [text for kept in keeping if kept is not None for text in kept.warnings()]
        return [*self._reader.warnings(), *told]

    def fold(self, view: V, logs: Sequence[Log]) -> None:
        """Brings a view forward. A view that needs to know where a log stands has another fold."""
        cast(View, view).apply(events_of(logs))

    async def follow_forever(self) -> None:
        while True:
            await self.refresh_or_log()
            await asyncio.sleep(self.poll_s)

    async def refresh_or_log(self) -> None:
        """Makes the view as new as this moment; during an outage it stays as it is."""
        try:
            await self.refresh_since(time.monotonic())
        except NodeBehind as error:
            if not self._is_behind:  # it may be so for hours
                log.warning("the node is behind", contract=self.contract.name, why=str(error))
            self._is_behind = True
        except (NodeUnavailable, NodeRefused) as error:
            if str(error) != self._outage:  # once, not at each poll of an outage of hours
                log.warning("view not refreshed", contract=self.contract.name, error=str(error))
            self._outage = str(error)
        else:
            self._outage = ""
            await self.keep_again()

    async def refresh_since(self, moment: float) -> None:
        """Makes the view as new as `moment` (monotonic seconds) at least. Callers share a look at
        the chain, and what it fails with: a view that could not be renewed is not a new one.

        Raises NodeBehind, NodeUnavailable, NodeRefused.
        """
        async with self._lock:
            if self._asked_at >= moment:
                if self._failure is not None:
                    raise self._failure
                return
            await asyncio.sleep(max(0.0, self._asked_at + MIN_INTERVAL_S - time.monotonic()))
            await self._look()

    async def keep_again(self) -> None:
        """What is kept no more is read once more beside the view, a piece at a time, until it ends
        where the view does: else it were a restart that had to read all of it."""
        kept = self.kept
        if kept is None or not kept.is_to_be_read_again or self._is_again.locked():
            return
        async with self._is_again:
            again = self._again = self._again or self._unseen(kept)
            try:
                is_whole = await again.read_on()
            except (NodeBehind, NodeUnavailable, NodeRefused):
                return  # the next look says what it is
            assert again.kept is not None
            if again.kept.is_lost:
                kept.lose_again()
                self._again = None
            elif is_whole and await again._known.tip() == await self._known.tip():
                log.info("kept again", contract=self.contract.name)
                self.kept, self._again = again.kept, None

    def _unseen(self, kept: KeptLogs) -> "Unseen":
        kept = kept.anew(self._seen.number if self._seen is not None else 0)
        how = (self.poll_s, self.range_blocks, Metrics(), self.confirmations, kept, self.topics)
        return Unseen(self.rpc, kept.store.contract, Nothing, *how)

    async def _look(self) -> None:
        self._asked_at, asked_on = time.monotonic(), time.time()
        # Until it is done: who cancels it leaves the view as it was.
        self._failure = NodeUnavailable("the last look at the chain was cut short")
        try:
            while not await self._step():
                pass
        except (NodeBehind, NodeUnavailable, NodeRefused) as error:
            self._failure, self._is_away = error, not isinstance(error, NodeBehind)
            raise
        self._failure, self._is_away, self._is_behind = None, False, False
        self._read_at, self._read_on = self._asked_at, asked_on

    async def _step(self) -> bool:
        """Takes one change in; True when the view is as new as the node."""
        if self.kept is not None:
            if why := await self.kept.has_to_begin_anew():
                self._rebuild(why)
            if news := await self.kept.news(await self._known.tip()):
                await self._take(news)
        try:
            change = await self._reader.look(self._known)
        except ChainReplaced as error:
            # Unlike an index, a view is read again by itself: no operator is needed.
            if self.kept is not None:
                await self.kept.go_back()
            self._rebuild(str(error))
            return False
        if isinstance(change, Behind):
            raise NodeBehind(change.why)
        if isinstance(change, RolledBack):
            self._roll_back(change)
            return False
        if isinstance(change, Extended):
            await self._extend(change)
            if change.blocks[-1].number < change.head.number:
                return False
        self._publish(change.head)
        return True

    def _publish(self, head: Block) -> None:
        self.view, self._seen = self._fold.newest, head
        self.metrics.view_block.labels(self.contract.name).set(head.number)
        if self.kept is not None and self.kept.through is not None:
            kept = self.metrics.view_kept_block.labels(self.contract.name)
            kept.set(self.kept.through.number)

    def _rebuild(self, reason: str) -> None:
        log.warning("view rebuilt", contract=self.contract.name, reason=reason)
        self.metrics.views_rebuilt.labels(self.contract.name).inc()
        self._start_over()

    def _roll_back(self, gone: RolledBack) -> None:
        self.metrics.views_rebuilt.labels(self.contract.name).inc()
        blocks = gone.tip.number - gone.to.number
        log.warning("view rolled back", contract=self.contract.name, blocks=blocks)
        self._known.roll_back(gone.to)
        self._fold.roll_back(gone.to.number)
        if self.kept is not None:
            self.kept.undo(gone.to.number)

    async def _take(self, news: News) -> None:
        """Brings the view to where the kept logs end. That this block is of the node's chain shows
        in the next look."""
        if news.anew:
            self._known, self._fold = MemoryChain(), Fold(self.new_view(), self.fold)
        try:
            await self._forward(news.logs, final=True)
        except IMPOSSIBLE as error:
            log.error("kept logs not understood", contract=self.contract.name, error=repr(error))
            assert self.kept is not None
            await self.kept.drop()
            self._start_over()
            return
        first = [Ref(e.block_number, e.block_hash) for e in news.logs[:1]]
        self._known.extend([*first, news.through])
        self._known.settle(Final(news.through.number))

    async def _forward(self, logs: Sequence[Log], final: bool) -> None:
        """Raises what a fold raises."""
        try:
            async for piece in in_turns(logs):
                self._fold.extend(piece, final)
        except asyncio.CancelledError:
            self._start_over()  # a part of them would be folded twice
            raise

    async def _extend(self, found: Extended) -> None:
        """Raises NodeUnavailable for events that cannot have happened so."""
        through = found.blocks[-1].number
        try:
            await self._forward(found.logs, final=found.final.number >= through)
        except IMPOSSIBLE as error:
            self._rebuild(f"{type(error).__name__}: {error}")
            raise NodeUnavailable(f"events that do not follow from others: {error!r}") from error
        self._known.extend(found.blocks)
        settled = self._known.settle(found.final)
        if settled is not None:
            self._fold.settle(settled)
        self.metrics.view_read_block.labels(self.contract.name).set(through)
        if self.kept is not None:
            final = None if settled is None else (await self._known.unfinal())[-1]
            await self.kept.took(found, final)


class Nothing:
    """The view of who only reads."""


class Unseen(Follower[Nothing]):
    """Reads what is to be kept, and folds nothing."""

    def fold(self, view: Nothing, logs: Sequence[Log]) -> None:
        pass

    async def read_on(self) -> bool:
        """A piece, or what is left of the way to the head; True when it is as new as the node.
        Raises NodeBehind, NodeUnavailable, NodeRefused."""
        assert self.kept is not None
        if await self.kept.is_read_now():
            return False
        while not await self._step():
            if self.kept.is_far:
                return False
        return True
