"""Whether an intent is done already: by which transaction, or why nobody needs it any more. For
batches of a lane, and whether our key may commit on it at all."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from corechain.deployment import Deployment
from corechain.protocol.eip712 import uint_word
from corechain.service.errors import NodeBehind, NodeUnavailable
from corechain_relayer.calldata import commit_call, committed_id, selector
from corechain_relayer.errors import LaneHalted, NotLaneSubmitter
from corechain_relayer.submitter.commits import CommitSearch, Committed
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent, Receipt

SUBMITTER_OF, ASSIGNEE_OF, BOND_OF = (
    selector(f"{name}(uint16)") for name in ("submitterOf", "assigneeOf", "bondOf")
)
NOBODY = bytes(20)


@dataclass(frozen=True, slots=True)
class Moot:
    """The intent is not needed any more, and why. `at_once`: whoever wanted it wants it anew when a
    reorg undoes that, so there is no need to wait until that is final."""

    why: str
    at_once: bool = False


Found = Receipt | Moot | LaneHalted | None
"""The transaction by which an intent is done already, whoever sent it; LaneHalted when something
else stands in its place; None: it is to be done."""
Settled = Callable[[Sequence[Intent]], Awaitable[list[Found]]]
"""One answer for each intent, in order."""


def one_by_one(ask: Callable[[Intent], Awaitable[Receipt | Moot | None]]) -> Settled:
    """For what has a question of its own for each intent."""

    async def settled(intents: Sequence[Intent]) -> list[Found]:
        return [await ask(intent) for intent in intents]

    return settled


@dataclass(frozen=True, slots=True)
class CommittedBatches:
    """Finds the transactions that committed the batches of intents, alone or in groups."""

    search: CommitSearch

    async def __call__(self, intents: Sequence[Intent]) -> list[Found]:
        """LaneHalted for one under whose batch id another commitment stands."""
        await self.search.refresh()
        found = await self.search.find_all([committed_id(i.calldata) for i in intents])
        receipts = await self.search.node.receipts({c.transaction for c in found.values()})
        return [_found(intent, found, receipts) for intent in intents]


def _found(
    intent: Intent, commits: Mapping[int, Committed], receipts: Mapping[bytes, Receipt]
) -> Receipt | LaneHalted | None:
    batch = committed_id(intent.calldata)
    commit = commits.get(batch)
    if commit is None:
        return None
    if commit_call(batch, commit.commitment) != intent.calldata:
        return LaneHalted(intent.key, f"0x{commit.commitment.hex()} is committed in its place")
    if commit.transaction not in receipts:
        raise NodeBehind("the receipt of a transaction in the logs is missing")
    return receipts[commit.transaction]


def _address(word: bytes) -> bytes:
    return word[12:32]


@dataclass(frozen=True, slots=True)
class LaneKey:
    """Asks the contract whether our key is the lane's."""

    node: Node
    deployment: Deployment
    lane: int
    ours: bytes

    async def __call__(self) -> None:
        """Raises NotLaneSubmitter, with what is in the way: not named, no bond, closed."""
        theirs = _address(await self._view(SUBMITTER_OF, 1))
        if theirs == self.ours:
            return
        if theirs != NOBODY:
            raise self._error(theirs, "another key is its submitter")
        assignee = _address(await self._view(ASSIGNEE_OF, 1))
        bond = await self._view(BOND_OF, 6)
        exit_at = int.from_bytes(bond[96:128], "big")
        if exit_at:
            raise self._error(theirs, f"the lane is closed, its bond free from {exit_at} on")
        if assignee == self.ours:
            raise self._error(theirs, "the lane's bond is not paid")
        named = "nobody" if assignee == NOBODY else f"0x{assignee.hex()}"
        raise self._error(theirs, f"the admin has named {named} for it")

    async def _view(self, call: bytes, words: int) -> bytes:
        contract = self.deployment.address("DataBatches")
        answer = await self.node.rpc.eth_call(contract, call + uint_word(self.lane))
        if len(answer) < 32 * words:
            raise NodeUnavailable(
                f"the node sent {len(answer)} bytes for {words} words of DataBatches"
            )
        return answer

    def _error(self, theirs: bytes, why: str) -> NotLaneSubmitter:
        return NotLaneSubmitter(self.lane, self.ours, theirs, why)
