"""Years of logs for reward roots: those of final blocks are read once, and kept in the journal."""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from corechain.deployment import Deployment
from corechain.protocol.events import BatchCommitted, BatchesCommitted, RootProposed, RootVetoed
from corechain.protocol.logs import decode_log, topic_of
from corechain.service.chain_questions import place_of
from corechain.service.errors import NodeBehind
from corechain.service.rpc import Log, Questions, logs_in_ranges, to_hex
from corechain_relayer.following import Follower, all_told
from corechain_relayer.journal.final_logs import FinalLogs
from corechain_relayer.keeping import KeptLogs
from corechain_relayer.metrics import Metrics
from corechain_relayer.turns import block_of

if TYPE_CHECKING:
    from corechain.service.database import Database

log = structlog.get_logger(__name__)

ROOTS = tuple(map(topic_of, (RootProposed, RootVetoed)))
COMMITS = tuple(map(topic_of, (BatchCommitted, BatchesCommitted)))
VIEWS = {
    "CoreToken": ("roots", ROOTS),
    "DataBatches": ("commits", COMMITS),
    "DeviceRegistry": ("DeviceRegistry", ()),
}
"""By contract: the name under which its logs are kept, and which of them (none: all). The
registry's are those that every service keeps."""


@dataclass(slots=True)
class LogsView:
    """All logs, oldest first."""

    logs: list[Log] = field(default_factory=list)

    def __deepcopy__(self, memo: object) -> "LogsView":
        """Logs are frozen."""
        return LogsView(list(self.logs))

    def between(self, first: int, last: int) -> list[Log]:
        """Those in the blocks first to last."""
        begin = bisect_left(self.logs, first, key=block_of)
        return self.logs[begin : bisect_right(self.logs, last, key=block_of)]


class LogsFollower(Follower[LogsView]):
    """`view` holds the logs themselves."""

    def fold(self, view: LogsView, logs: Sequence[Log]) -> None:
        for entry in logs:
            decode_log(list(entry.topics), entry.data)  # one that cannot be is not kept
        view.logs += logs

    async def final(self) -> int:
        """The newest block whose logs no reorg takes; -1 before the first look."""
        known = await self._known.unfinal()
        return known[-1].number if known else -1

    async def mend(self, logs: Sequence[Log]) -> None:
        """Adds logs of final blocks that a node had left out when these were read."""
        fold = self._fold
        for view in (fold.newest,) if fold.settled is None else (fold.newest, fold.settled):
            view.logs = sorted([*view.logs, *logs], key=place_of)
        if self.kept is not None:
            await self.kept.mend(logs)


@dataclass(slots=True)
class KeptReading:
    """A history's logs, by a follower for each contract that is asked for."""

    rpc: Questions
    deployment: Deployment
    range_blocks: int
    confirmations: int
    metrics: Metrics
    pool: "Database"
    views: Mapping[str, tuple[str, Sequence[bytes]]] = field(default_factory=lambda: VIEWS)
    _followers: dict[str, LogsFollower] = field(default_factory=dict)

    async def logs(self, contract: str, first: int, last: int) -> list[Log]:
        """Of a contract in `VIEWS`, in the blocks first to last. Raises NodeBehind where a node has
        not seen the last one, NodeUnavailable, NodeRefused."""
        follower = self._follower(contract)
        await follower.refresh_since(time.monotonic())
        await follower.keep_again()
        # By who named the last one perhaps: of several behind one address another may answer here.
        if follower.seen is None or follower.seen.number < last:
            raise NodeBehind(f"the node has not seen block {last} yet")
        return follower.view.between(first, last)

    async def reread(self, contract: str, first: int, last: int) -> int:
        """Asks the node once more for the logs of final blocks, and adds those that were left out
        when they were read for good: how many. Raises NodeUnavailable, NodeRefused."""
        follower = self._follower(contract)
        await follower.refresh_since(time.monotonic())
        place, (_, kinds) = self.deployment.contracts[contract], self.views[contract]
        first, last = max(first, place.block), min(last, await follower.final())
        topics = [[to_hex(kind) for kind in kinds]] if kinds else []
        where = (first, last, self.range_blocks)
        found = await logs_in_ranges(self.rpc, [place.address], topics, *where)
        known = {place_of(entry) for entry in follower.view.between(first, last)}
        left_out = [entry for entry in found if place_of(entry) not in known]
        if left_out:
            with all_told():
                for entry in left_out:
                    decode_log(list(entry.topics), entry.data)
            numbers = sorted({entry.block_number for entry in left_out})
            log.warning("logs were left out before", contract=contract, blocks=numbers[:10])
            await follower.mend(left_out)
        return len(left_out)

    def _follower(self, contract: str) -> LogsFollower:
        if contract not in self._followers:
            name, topics = self.views[contract]
            place, chain_id = self.deployment.contracts[contract], self.deployment.chain_id
            kept = KeptLogs(FinalLogs(self.pool, chain_id, place, name), self.rpc)
            how = (0.0, self.range_blocks, self.metrics, self.confirmations, kept, topics)
            self._followers[contract] = LogsFollower(
                self.rpc, replace(place, name=f"rewards: {name}"), LogsView, *how
            )
        return self._followers[contract]
