"""Years of logs for reward roots: those of final blocks are read once, and kept in the journal."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.protocol.events import BatchCommitted, BatchesCommitted, RootProposed, RootVetoed
from corechain.protocol.logs import decode_log, topic_of
from corechain.service.errors import NodeBehind
from corechain.service.rpc import Log, Questions
from corechain_relayer.following import Follower
from corechain_relayer.journal.final_logs import FinalLogs
from corechain_relayer.keeping import KeptLogs
from corechain_relayer.metrics import Metrics

if TYPE_CHECKING:
    from corechain.service.database import Database

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


class LogsFollower(Follower[LogsView]):
    """`view` holds the logs themselves."""

    def fold(self, view: LogsView, logs: Sequence[Log]) -> None:
        for entry in logs:
            decode_log(list(entry.topics), entry.data)  # one that cannot be is not kept
        view.logs += logs


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
        # By who named the last one perhaps: of several behind one address another may answer here.
        if follower.seen is None or follower.seen.number < last:
            raise NodeBehind(f"the node has not seen block {last} yet")
        return [entry for entry in follower.view.logs if first <= entry.block_number <= last]

    async def forget(self) -> None:
        """A node has left something out when it was read. The registry's logs are those of every
        service, and stay: a root that they make wrong is judged by the node's once more."""
        for contract in ("CoreToken", "DataBatches"):
            follower = self._followers.pop(contract, None)
            if follower is not None and follower.kept is not None:
                await follower.kept.drop()

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
