"""What a view has read of final blocks: kept in the journal, and taken from there at a start.

A contract that is a year old has been in 126 million blocks of a fast chain, of which a node tells
10,000 at a time. So a start takes what is kept and reads on behind it, by the same reader: that
the kept block is an ancestor of the node's head is what it looks at first.
"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import uuid4

import structlog

from corechain.service.chain_questions import place_of
from corechain.service.errors import NodeUnavailable, StoreUnavailable
from corechain.service.forks import newest_of
from corechain.service.known_chain import Extended
from corechain.service.nodes import is_by_few, told_by_few
from corechain.service.reconcile import Ref
from corechain.service.rpc import Questions
from corechain.service.words import Log
from corechain_relayer.journal.final_logs import FinalLogs, Standing, Subject
from corechain_relayer.turns import block_of, is_odd, pieces_of, with_last
from corechain_relayer.wiring import check_chain

log = structlog.get_logger(__name__)

KEEP_EVERY_S = 2.0
"""So much reading is lost by who is killed."""
CALM = 5
"""So many times as seldom near the head: there, a start reads on in a moment anyway."""
FAR_BLOCKS = 20_000
"""So far below the head one service reads and the others wait: it takes seconds at least."""
MUCH_BLOCKS = 1_000
"""So much reading is kept at once when it is done."""
WAIT_S = 0.25
STORE_S, LOAD_S, FORGET_S = 2.0, 30.0, 10.0
"""A database that hangs keeps nobody from the chain for longer; what it has of years takes time."""
LOGS_A_SECOND = 1_000
"""A slow database writes as many, or tells them."""
KEEP_AT_ONCE, PIECES_AT_ONCE = 5_000, 4
"""Logs in one transaction, and transactions for which one look at the chain waits."""
RETRY_S = 5.0
"""How long it is not asked again, then."""
MOST_YOUNG = 300_000
"""Logs that wait for the database, some hundred megabytes: a first reading goes on without it."""
ANEW_EVERY_S = 600.0
"""A view of many logs is seconds of work; to keep nothing until a restart costs that start more."""
TOLD_EVERY_S = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class News:
    """Logs that are kept, up to `through`. `anew`: all of them, else those that are new to us."""

    logs: Sequence[Log]
    through: Ref
    anew: bool


@dataclass(slots=True)
class KeptLogs:
    """What one follower keeps. A database that is away costs it nothing but what would be kept."""

    store: FinalLogs
    rpc: Questions
    keep_every_s: float = KEEP_EVERY_S
    keep_at_once: int = KEEP_AT_ONCE
    store_s: float = STORE_S
    far_blocks: int = FAR_BLOCKS
    window: int = 0
    """Blocks before the newest final one whose logs are wanted; 0: all since the first."""
    subject_of: Callable[[Log], Subject] | None = None
    """What a log is about, where that ends some day; None: all logs stay."""
    through: Ref | None = None
    """Up to here all is kept, and is what we have read, too."""
    _young: list[Log] = field(default_factory=list)
    """Read, of blocks after that."""
    _is_open: bool = False
    """Whether it is known what was kept."""
    _is_right: bool = False
    """Whether the node serves the deployment's chain."""
    _few: int = 0
    """Answers of fewer nodes than must agree, before what we have read."""
    _lost: str = ""
    """Why nothing is kept any more."""
    _lost_at: float = float("-inf")
    _went_back: str = ""
    """That the database has lost what we had kept."""
    _went_back_at: float = float("-inf")
    _away: str = ""
    _left: Extended | None = None
    """The last piece, where it was far below the head."""
    _next_keep: float = float("-inf")
    _next_question: float = float("-inf")
    """While the database is away."""
    _told_at: float = float("-inf")

    def start_over(self) -> None:
        """Nothing was read. What is kept is looked at again."""
        self.through, self._young, self._left = None, [], None
        self._is_open, self._lost, self._went_back = False, "", ""
        self._few = told_by_few(self.rpc)

    def warnings(self) -> list[str]:
        """For `/ready`."""
        name, told = self.store.name, list[str]()
        if self._left is not None:
            at, head = self._left.blocks[-1].number, self._left.head.number
            told.append(f"{name}: the chain's history is being read, block {at} of {head}")
        if self._lost:
            told.append(f"{name}: what is read is not kept: {self._lost}")
        return told

    # ---------------------------------------------------------------------- at a start

    async def news(self, tip: Ref | None) -> News | None:
        """What is kept and not read here; None where there is nothing. `tip`: how far we have read.

        While the head is far and somebody else reads on, waits for what that one keeps.
        Raises NodeUnavailable, WrongNode.
        """
        is_wanted = not self._is_open or self._left is not None
        if not is_wanted or time.monotonic() < self._next_question:
            return None
        return await self._in_time(self._found(tip))

    @property
    def _is_doubtful(self) -> bool:
        """Whether we have read what fewer nodes said than must agree."""
        return told_by_few(self.rpc) != self._few

    async def has_to_begin_anew(self) -> str:
        """Why, if it has to. A view may go by what few nodes say, and not for ever: enough agree
        again. It begins from what is kept, so not while the database is away; and where that has
        lost its end, as by a failover, it is read again, or nothing could follow on it."""
        now, why = time.monotonic(), self._went_back
        if self._is_doubtful and not is_by_few(self.rpc):
            why = "enough nodes agree again"
        if not why or now < self._next_question:
            return ""
        await self._in_time(_within(self.store.standing(), self.store_s))
        return "" if self._away else why

    async def _found(self, tip: Ref | None) -> News | None:
        while True:
            standing = await _within(self.store.standing(), self.store_s)
            if standing is not None and not (self._reaches(standing) and self._is_near(standing)):
                log.warning("kept logs are of another window", view=self.store.name)
                await self._drop()
                standing = None
            if standing is not None and (tip is None or standing.through.number > tip.number):
                return await self._loaded(tip, standing.logs)
            self._is_open = True
            if standing is None or self._left is None or not standing.is_being_read:
                return None
            await asyncio.sleep(WAIT_S)

    def _reaches(self, standing: Standing) -> bool:
        """Whether what is kept begins early enough."""
        # One that runs for months began at an older block than it wants by now.
        wanted = standing.through.number - 2 * self.window // 3 if self.window else 0
        return standing.first_block <= max(self.store.contract.block, wanted)

    def _is_near(self, standing: Standing) -> bool:
        """Whether less is to be read behind what is kept than of the whole window: after months in
        which nobody ran it is more, and older than anybody wants."""
        is_old = standing.through.number < self.store.contract.block
        is_begun = self._is_open or standing.is_being_read
        return is_begun or not (self.window and is_old)

    async def _loaded(self, tip: Ref | None, kept: int) -> News | None:
        # What we had read before it was known what is kept counts for nothing.
        anew = tip is None or not self._is_open
        found = self.store.after(-1 if anew or tip is None else tip.number)
        standing, logs = await _within(found, LOAD_S + kept / LOGS_A_SECOND)
        if standing is None:
            log.error("kept logs are not whole", view=self.store.name)
            await self._drop()
            return None
        self.through, self._young, self._is_open = standing.through, [], True
        log.info("kept logs taken", view=self.store.name, logs=len(logs), block=self.through.number)
        return News(logs, standing.through, anew)

    # ------------------------------------------------------------------ while it goes on

    async def took(self, found: Extended, final: Ref | None) -> None:
        """A piece was read; `final`: our newest block that will not be undone. Raises
        NodeUnavailable, NodeRefused, WrongNode."""
        if not self._lost:
            self._young += found.logs
        if len(self._young) > MOST_YOUNG:
            self._lose("the database was away for too long")
        left = found.head.number - found.blocks[-1].number
        self._left = found if left > self.far_blocks else None
        self._tell()
        now = time.monotonic()
        # A block before the contract's first was not read: its hash is what its child says.
        if final is None or final.number < self.store.contract.block:
            return
        is_due = now >= self._next_keep or self._is_much(final, left)
        if not is_due or now < self._next_question:
            return
        if self._lost or self._is_doubtful or final == self.through:
            return
        self._next_keep = now + self.keep_every_s * (CALM if self._left is None else 1)
        await self._in_time(self._keep(final))

    def _is_much(self, final: Ref, left: int) -> bool:
        """Whether a reading has come to its end that was long: a command ends with it."""
        begun = self.store.contract.block if self.through is None else self.through.number
        done = final.number - begun
        return left == 0 and done > MUCH_BLOCKS

    def _tell(self) -> None:
        if self._left is not None and time.monotonic() > self._told_at + TOLD_EVERY_S:
            self._told_at, left = time.monotonic(), self._left
            log.info(
                "the chain's history is being read",
                view=self.store.name,
                block=left.blocks[-1].number,
                head=left.head.number,
            )

    async def mend(self, logs: Sequence[Log]) -> None:
        """Logs of final blocks, in order, that a node had left out when these were read; of views
        whose logs all stay."""
        kept = -1 if self.through is None else self.through.number
        old = [entry for entry in logs if entry.block_number <= kept]
        self._young = sorted([*self._young, *logs[len(old) :]], key=place_of)
        if old:
            added = self.store.add(old)
            await self._in_time(_within(added, self.store_s + len(old) / LOGS_A_SECOND))

    def undo(self, to: int) -> None:
        """The logs after a block did not happen."""
        del self._young[bisect_right(self._young, to, key=block_of) :]

    async def _keep(self, final: Ref) -> None:
        if not self._is_right:
            await check_chain(self.rpc, self.store.chain_id)
            self._is_right = True
        logs = self._young[: bisect_right(self._young, final.number, key=block_of)]
        pieces = pieces_of(logs, self.keep_at_once)
        # Many where the database was away for long: a transaction of a million would never end.
        for count, (piece, is_last) in enumerate(with_last(pieces)):
            if count == PIECES_AT_ONCE:
                self._next_keep = float("-inf")  # the look goes on; the rest is kept with the next
                return
            end = final if is_last else Ref(piece[-1].block_number, piece[-1].block_hash)
            if not await self._keep_piece(piece, end):
                return
        if self.window:
            await _within(self.store.forget_before(final.number - self.window), FORGET_S)

    async def _keep_piece(self, logs: Sequence[Log], through: Ref) -> bool:
        """Whether it was kept, so that what follows can be."""
        if any(map(is_odd, logs)):
            # The view has passed it over. Kept, it would be missing for good; asked for anew, it
            # may be another.
            self._lose("the node has sent a log that cannot be")
            return False
        kept = self.store.keep(self.through, through, logs, self._about(logs))
        if not await _within(kept, self.store_s + len(logs) / LOGS_A_SECOND):
            await self._agree(through)
            return False
        self._stands_at(through)
        return True

    def _about(self, logs: Sequence[Log]) -> list[Subject]:
        return [] if self.subject_of is None else [self.subject_of(entry) for entry in logs]

    def _stands_at(self, through: Ref) -> None:
        self.through = through
        del self._young[: bisect_right(self._young, through.number, key=block_of)]

    async def _agree(self, final: Ref) -> None:
        """Somebody else has kept something, or reads on. What is kept has to be of our chain before
        anything of ours may follow on it."""
        standing, ours = await _within(self.store.standing(), self.store_s), self.through
        if standing is None:
            self._lose("it was dropped by somebody else")
        elif ours is not None and standing.through.number < ours.number:
            self._goes_back(ours.number - standing.through.number)
        elif standing.through != ours and standing.through.number <= final.number:
            block = await self.rpc.block(standing.through.number)
            if block is not None and block.hash != standing.through.hash:
                self._lose(f"somebody else has kept another block {block.number}")
            elif block is not None:
                self._stands_at(standing.through)

    def _goes_back(self, blocks: int) -> None:
        """Seldom: two whose nodes are on two branches would take it back from each other."""
        now = time.monotonic()
        if blocks > self.far_blocks or now < self._went_back_at + ANEW_EVERY_S:
            self._lose("it goes back further than ours")
        else:
            self._went_back = f"what was kept has lost its last {blocks} blocks"
            self._went_back_at = now

    def _lose(self, why: str) -> None:
        log.warning("not kept any more", view=self.store.name, why=why)
        self._lost, self._lost_at, self._young = why, time.monotonic(), []

    # --------------------------------------------------------- kept again, beside the view

    @property
    def is_lost(self) -> bool:
        return bool(self._lost)

    @property
    def is_far(self) -> bool:
        """Whether the head is far from what was read."""
        return self._left is not None

    @property
    def is_to_be_read_again(self) -> bool:
        """Whether that was long ago. Not at once: who has dropped it reads it anew."""
        return self.is_lost and time.monotonic() > self._lost_at + ANEW_EVERY_S

    def anew(self, head: int) -> "KeptLogs":
        """The same, of which nothing is known yet."""
        contract = self.store.contract
        first = max(contract.block, head - 2 * self.window // 3) if self.window else contract.block
        store = replace(self.store, contract=replace(contract, block=first), reader=uuid4())
        found = replace(self, store=store)
        found.start_over()
        return found

    async def is_read_now(self) -> bool:
        """By somebody else, whom it would not help to read the same; or that cannot be known."""
        standing = await self._in_time(_within(self.store.standing(), self.store_s))
        return bool(self._away) or (standing is not None and standing.is_being_read)

    def lose_again(self) -> None:
        self._lost_at = time.monotonic()

    # -------------------------------------------------------- what is kept is not the chain's

    async def go_back(self) -> None:
        """To the newest kept block that the node's chain has; to nothing where it has none of them.

        Raises NodeUnavailable, also where fewer nodes say so than must agree, NodeRefused.
        """
        await self._in_time(self._go_back())

    async def _go_back(self) -> None:
        standing = await _within(self.store.standing(), self.store_s)
        if standing is None:
            return
        last = await self.rpc.block(standing.through.number)
        if last is not None and last.hash == standing.through.hash:
            return  # what we have read since is gone, and was not kept yet
        kept = await _within(self.store.blocks(standing), LOAD_S)
        # What had ended after the fork, and so was dropped, has not: nothing tells what that was.
        to = None if self.subject_of else await newest_of(self.rpc, kept)
        if self._is_doubtful:
            raise NodeUnavailable("too few nodes agree to give up what was read of final blocks")
        log.error(
            "kept logs are not of the node's chain",
            view=self.store.name,
            block=standing.through.number,
            back_to=None if to is None else to.number,
        )
        if to is None:
            await self.store.drop(standing)
        else:
            await self.store.cut(standing, to)

    async def drop(self) -> None:
        """What is kept makes no sense: it is read anew."""
        await self._in_time(self._drop())

    async def _drop(self) -> None:
        standing = await _within(self.store.standing(), self.store_s)
        if standing is not None:
            await self.store.drop(standing)

    async def _in_time(self, work: Awaitable[T]) -> T | None:
        """None, and said once, where the database is away."""
        try:
            done = await work
        except (StoreUnavailable, TimeoutError) as error:
            if not self._away:
                log.warning("final logs not kept", view=self.store.name, error=repr(error))
            self._away, self._next_question = repr(error), time.monotonic() + RETRY_S
            return None
        self._away = ""
        return done


async def _within(answer: Awaitable[T], limit_s: float) -> T:
    """Raises TimeoutError."""
    async with asyncio.timeout(limit_s):
        return await answer
