"""Proposals and vetoes of reward roots, of which a watch asks again and again."""

from dataclasses import dataclass, field

from corechain.protocol.events import RootProposed
from corechain.service.rpc import Log
from corechain_relayer.rewards.history import History, told
from corechain_relayer.submitter.plan import BlockId

NO_BLOCK = BlockId(0, b"")


@dataclass(slots=True)
class RootLogs:
    """Those in final blocks are read once: a chain is years long, and a round half a second."""

    _settled: list[Log] = field(default_factory=list)
    _through: int = -1
    """The newest block whose logs are settled."""

    async def newest(
        self, history: History, head: int, final: int
    ) -> tuple[list[RootProposed], BlockId]:
        """The epochs, and the block of the newest proposal or veto; block 0 where there is none.
        Raises NodeUnavailable, NodeRefused."""
        young = await history.roots(self._through + 1, head)
        logs = self._settled + young
        through = min(final, head)
        if through > self._through:
            self._settled = [entry for entry in logs if entry.block_number <= through]
            self._through = through
        last = logs[-1] if logs else None
        place = NO_BLOCK if last is None else BlockId(last.block_number, last.block_hash)
        return told(logs), place
