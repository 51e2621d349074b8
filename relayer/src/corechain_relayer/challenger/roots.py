"""Vetoes of wrong reward roots: each proposed root is recomputed from chain and data files."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from corechain.deployment import Deployment
from corechain.protocol.eip712 import uint_word
from corechain.protocol.events import RootProposed
from corechain.service.errors import FileWithheld, NodeRefused, NodeUnavailable
from corechain.service.files.download import Unfit
from corechain.service.files.fetch import FileSources
from corechain.service.rpc import Block, Questions
from corechain_relayer.aggregator.files import data_path
from corechain_relayer.aggregator.position import Committed
from corechain_relayer.behind import rounds_forever
from corechain_relayer.calldata import selector
from corechain_relayer.challenger.again import Again
from corechain_relayer.challenger.alerts import WRONG_ROOT, ChallengerAlerts
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.challenger.opening import kept, opened
from corechain_relayer.challenger.root_logs import RootLogs
from corechain_relayer.challenger.store import NOTHING_SENT, ChallengerStore
from corechain_relayer.challenger.waiting import (
    NONE_WAITS,
    PendingRoots,
    Root,
    veto_purpose,
    waits_for_finality,
)
from corechain_relayer.challenger.wanting import Wanting
from corechain_relayer.rewards.epochs import (
    Ledger,
    RewardsNotReproducible,
    RootDiffers,
)
from corechain_relayer.rewards.history import History, left_out
from corechain_relayer.rewards.kept import KeptReading
from corechain_relayer.rewards.proven import Proven
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import BlockId
from corechain_relayer.submitter.urgency import AT_ONCE, Pace

log = structlog.get_logger(__name__)

VETO = selector("veto(uint32)")
RETRY_S = 5.0
"""Of the first pause after a root could not be recomputed; each is twice as long as the last."""
REREAD_S = 60.0
"""So long owners may be read anew at least, however little is left of a window."""
NO_ROOT = b""
"""Where nobody has earned anything yet: every root is wrong."""


def _name(root: RootProposed) -> str:
    return f"epoch {root.epoch}"


def veto_call(epoch: int) -> bytes:
    return VETO + uint_word(epoch)


@dataclass(slots=True)
class RootWatch:
    """Level-triggered: each round asks for the root in its window. Never vetoes what it cannot
    recompute: a missing file is an alert, and no reason to stop rewards."""

    rpc: Questions
    deployment: Deployment
    range_blocks: int
    sources: FileSources
    folder: Path
    """Of all data files since the first epoch: a root depends on all of them."""
    calls: DisputesCalls
    """As the guardian asks."""
    store: ChallengerStore
    alerts: ChallengerAlerts
    work: asyncio.Event
    node: Node
    """Says what is final."""
    kept: KeptReading | None = None
    """What was read of final blocks; what is doubted is asked of the node once more, and what it
    had left out added."""
    proven: Proven = field(default_factory=Proven)
    retry_s: float = RETRY_S
    pace: Pace = field(default_factory=Pace)
    """Of the veto that is to be sent: a root that stands because fees rose is money for nothing."""
    _judged: dict[tuple[int, BlockId], bytes] = field(default_factory=dict)
    """By epoch and the block of its proposal: what its root should be, or NO_ROOT. A reorg that
    changes what the root rests on changes that block, too."""
    _logs: RootLogs = field(default_factory=RootLogs)
    _said: dict[tuple[int, BlockId], bytes] = field(default_factory=dict)
    """As `_judged`, the time before: what is said twice in a row counts."""
    _doubted: tuple[int, BlockId] | None = None
    """Whose root is judged anew, by what is asked of the node once more."""
    _untold: Root = NONE_WAITS
    """What waits by the word of the contract alone, or without one before it, since the last
    round."""
    _again: Again = field(init=False)
    """All data files are read for a try, which half a second later finds the same."""

    def __post_init__(self) -> None:
        self._again = Again(self.retry_s)

    async def watch_forever(self, poll_s: float) -> None:
        await rounds_forever(self.round, poll_s)

    async def round(self) -> None:
        """Raises NodeUnavailable, NodeRefused, StoreUnavailable."""
        head = await self.rpc.head()
        history = History(self.rpc, self.deployment, self.range_blocks, head.number, self.kept)
        final = await self.node.final_block(head)
        epochs, place = await self._logs.newest(history, head.number, final)
        waits = bool(epochs) and epochs[-1].active_at > head.timestamp
        if not await self._is_told(epochs if waits else [], history):
            return
        key, newest = (epochs[-1].epoch, place), epochs[-1]
        if self._doubted != key:
            self._doubted = None
        is_known = key in self._judged
        if not is_known and not await self._try(epochs, place, head, history):
            return
        is_right = self._judged[key] == newest.root
        if is_right:
            await self._is_well()
        may_veto = not is_right and await self._may_object(newest, place, head, final)
        if self._said.get(key) is None or (self._said[key] == newest.root) != is_right:
            # Once more, in another round and by logs that are read anew: a node that left some out
            # must neither cost a right root nor let a wrong one stand that lacks the same. Also
            # while no veto may be sent yet: one of before, of the same words, may be on its way.
            self._doubted, self._said, self._judged = key, self._judged, {}
            self._logs = RootLogs()
        elif may_veto:
            await self._veto(newest)
        elif is_right and not is_known:
            log.info("reward root is right", epoch=newest.epoch)

    async def _try(
        self, epochs: list[RootProposed], place: BlockId, head: Block, history: History
    ) -> bool:
        """Whether the newest root is judged now. After a try in vain there is a pause."""
        newest = epochs[-1]
        tried = (newest.epoch, place.hash)
        if not self._again.is_due(tried, newest.active_at - head.timestamp):
            return False
        if not await self._judge(epochs, place, head, history):
            self._again.later(tried)
            return False
        self._again.forget({tried})
        return True

    async def _is_told(self, epochs: Sequence[RootProposed], history: History) -> bool:
        """Whether a root waits that the logs tell of, with all before it. The contract is asked: a
        node may have left out the newest when the logs of its block were read for good, and nobody
        would judge it; or an earlier one, and a right root would come out wrong."""
        pending = await PendingRoots(self.calls).now()
        if pending == NONE_WAITS:
            await self._is_well()
        elif not epochs or (epochs[-1].epoch, epochs[-1].root) != pending or left_out(epochs):
            self._logs = RootLogs()
            if self._untold == pending:
                await self._miss(left_out(epochs) or pending[0], pending, history)
            self._untold = pending
            return False
        self._untold = NONE_WAITS
        return pending != NONE_WAITS

    async def _miss(self, missing: int, pending: Root, history: History) -> None:
        """Of an epoch no log tells, perhaps since its block was read for good."""
        name = f"epoch {pending[0]}"
        text = f"{name}: its root waits, and no log tells of epoch {missing}: not judged"
        self.alerts.say(WRONG_ROOT, name, text)
        self.alerts.looked(WRONG_ROOT)
        if self.kept is not None and self._again.is_due(pending):
            self._again.later(pending)
            await history.reread_roots(await history.roots(0, history.newest), missing)

    async def _is_well(self) -> None:
        """Whatever veto is on its way means another root, and could hit the one that waits now or
        next: it is withdrawn as urgently as a wrong root is vetoed."""
        self.alerts.keep(WRONG_ROOT, set())
        is_sending = any(one.is_open for one in (await self.store.sent()).values())
        self.pace = AT_ONCE if is_sending else Pace()

    def is_right(self, root: Root) -> bool:
        """Whether that is the root of the data, by the newest judgement."""
        judged = self._judged or self._said
        return any((epoch, right) == root for (epoch, _), right in judged.items())

    async def _judge(
        self, epochs: list[RootProposed], place: BlockId, head: Block, history: History
    ) -> bool:
        """Of the newest epoch. False, with an alert, where its root cannot be known."""
        if self._doubted is not None:
            await history.reread_data(self._begin(epochs[:-1]) + 1, epochs[-1].through_block)
        batches = await history.batches(head.number)
        # Blocks that nobody had seen: what they would hold cannot be what was proposed. Right by
        # what there is now, it would be wrong, and no veto come, once they have data.
        is_of_future = epochs[-1].through_block > place.number
        known = epochs[:-1], epochs[-1]
        root = NO_ROOT if is_of_future else await self._believed(*known, batches, head, history)
        if root is None:
            self._logs = RootLogs()  # perhaps for want of an earlier root that was left out
        else:
            self._judged = {(epochs[-1].epoch, place): root}
        return root is not None

    async def _believed(
        self,
        before: list[RootProposed],
        newest: RootProposed,
        batches: Mapping[int, Committed],
        head: Block,
        history: History,
    ) -> bytes | None:
        """As `_root_of`. Where that is wrong for the second time, all owners are read anew, too:
        who has a device may have been said years ago."""
        root = await self._root_of(before, newest, batches, history)
        if self._doubted is None or self.kept is None or root in (None, newest.root):
            return root
        # It has its time, but not that of the veto.
        limit_s = max(REREAD_S, (newest.active_at - head.timestamp) / 2)
        is_news = await self._are_owners_news(newest, history, limit_s)
        return await self._root_of(before, newest, batches, history) if is_news else root

    async def _are_owners_news(
        self, newest: RootProposed, history: History, limit_s: float
    ) -> bool:
        """Whether owners had been left out. A node that has old logs no more, or fails once in a
        while, must not let a wrong root go: what cannot be read anew is believed as it was read."""
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    try:
                        return await history.reread_owners(newest.through_block)
                    except NodeUnavailable as error:
                        log.warning("owners not read anew yet", why=str(error))
                        await asyncio.sleep(self.retry_s)
        except (TimeoutError, NodeRefused) as error:
            log.warning("owners not read anew", epoch=newest.epoch, why=repr(error))
            return False

    def _begin(self, before: Sequence[RootProposed]) -> int:
        """The block up to which data is accounted for by what is proven."""
        return self.proven.within(before).through

    async def _root_of(
        self,
        before: list[RootProposed],
        newest: RootProposed,
        batches: Mapping[int, Committed],
        history: History,
    ) -> bytes | None:
        """What the root should be; None, with an alert, where that cannot be known."""
        how = (self.folder, history.owners, self.deployment.rewards, self.proven)
        begin = self._begin(before)
        needed = {batch: entry for batch, entry in batches.items() if entry.block > begin}
        ledger = Ledger(needed, *how)
        try:
            await self._fetch(needed, newest.through_block, self._is_there)
            try:
                return await ledger.root_of(before, newest) or NO_ROOT
            except RewardsNotReproducible as error:
                if await self._was_left_out(error, history):
                    found = await history.batches(history.newest)
                    return await self._root_of(before, newest, found, history)
                # One that is damaged here is whole elsewhere.
                if not await self._fetch(needed, newest.through_block, self._is_whole):
                    raise
                return await ledger.root_of(before, newest) or NO_ROOT
        except (FileWithheld, RewardsNotReproducible) as error:
            name = _name(newest)
            text = f"{name}: its root cannot be recomputed, so it is not vetoed: {error}"
            self.alerts.say(WRONG_ROOT, name, text)
            self.alerts.looked(WRONG_ROOT)
            return None

    async def _was_left_out(self, error: RewardsNotReproducible, history: History) -> bool:
        """Whether a log was missing of an epoch that stands and did not come out."""
        if not isinstance(error, RootDiffers):
            return False
        try:
            return await history.reread_data(error.first, error.last)
        except NodeRefused as refusal:  # it has logs of so long ago no more
            log.warning("an epoch is not read anew", epoch=error.epoch, why=str(refusal))
            return False

    async def _may_object(
        self, newest: RootProposed, place: BlockId, head: Block, number: int
    ) -> bool:
        """To a wrong root: it is vetoed once a reorg can put no right one in its place, or as soon
        as waiting for that could take too long."""
        call, target = veto_call(newest.epoch), self.deployment.address("CoreToken")
        purpose = veto_purpose(newest.epoch, newest.root)
        self.pace = await self._pace(newest, place, head)
        waits = await self._waits(newest, place, head, number)
        before = (await self.store.sent()).get(purpose, NOTHING_SENT)
        said = "" if waits else before.used_up or await self.calls.said_to(call, target)
        what = f"the contract refuses its veto: {said}" if said else "it is vetoed"
        what = "it is vetoed once its block is final" if waits else what
        name = _name(newest)
        text = f"{name}: the root 0x{newest.root.hex()} is not that of the data; {what}"
        self.alerts.say(WRONG_ROOT, name, text)
        self.alerts.looked(WRONG_ROOT)
        return not said and not waits

    async def _pace(self, newest: RootProposed, place: BlockId, head: Block) -> Pace:
        proposed = await self.rpc.block(place.number)
        begun = head.timestamp if proposed is None else proposed.timestamp
        return Pace(newest.active_at - head.timestamp, newest.active_at - begun)

    async def _waits(self, newest: RootProposed, place: BlockId, head: Block, number: int) -> bool:
        final = await self.rpc.block(number)
        lag_s = head.timestamp - (final.timestamp if final is not None else 0)
        left_s = newest.active_at - head.timestamp
        return waits_for_finality(left_s, lag_s, place.number <= number)

    async def _veto(self, newest: RootProposed) -> None:
        call, target = veto_call(newest.epoch), self.deployment.address("CoreToken")
        purpose = veto_purpose(newest.epoch, newest.root)
        sent = await self.store.sent()
        await Wanting(self.store, self.alerts, self.work).want(purpose, sent, target, call)

    async def _fetch(
        self, batches: Mapping[int, Committed], through: int, is_good: Callable[[int, bytes], bool]
    ) -> int:
        """Of the files that the root depends on those that are not good: how many. Raises
        FileWithheld."""
        fetched = 0
        for batch, entry in sorted(batches.items()):
            if entry.block > through:
                continue
            if not await asyncio.to_thread(is_good, batch, entry.commitment):
                await self._fetch_one(batch, entry.commitment)
                fetched += 1
        return fetched

    def _is_there(self, batch: int, commitment: bytes) -> bool:
        return data_path(self.folder, commitment).exists()

    def _is_whole(self, batch: int, commitment: bytes) -> bool:
        try:
            content = data_path(self.folder, commitment).read_bytes()
            return opened(content, batch, commitment).fits
        except (OSError, Unfit):
            return False

    async def _fetch_one(self, batch: int, commitment: bytes) -> None:
        async def judge(content: bytes) -> None:
            found = await asyncio.to_thread(opened, content, batch, commitment)
            if not found.fits:
                raise Unfit("its words do not hash to the commitment")
            await asyncio.to_thread(kept, self.folder, commitment, content)

        await self.sources.first_fit(commitment, judge)
