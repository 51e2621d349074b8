"""Whether a root is the one that waits for its window, and how long its veto may wait. Pure but for
one question to the contract.

The contract's `veto` names an epoch alone. After a reorg another root may wait under the epoch of
the one that was found wrong, and that root may be right.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from corechain.service.errors import NodeUnavailable
from corechain_relayer.calldata import selector
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.challenger.sending import StillTaken
from corechain_relayer.submitter.grounds import NOTHING, ROOT_REPLACED, Weak
from corechain_relayer.submitter.plan import Intent, State
from corechain_relayer.submitter.settled import Moot

PENDING_ROOT = selector("pendingRoot()")
REPLACED = "another root waits under its epoch, or none: it is judged for itself"
IS_RIGHT = "a reorg has made the root right: it is that of the data on this chain"
SPARE = 2
"""A veto waits for finality as long as that comes, at its present pace, in less than half of what
is left of the window."""
Root = tuple[int, bytes]
"""Epoch, root."""
NONE_WAITS: Root = 0, bytes(26)


def veto_purpose(epoch: int, root: bytes) -> str:
    """What comes before the number in the journal's key."""
    return f"veto:{epoch}:{root.hex()}"


def root_of(key: str) -> Root:
    """The root that an intent means."""
    _, epoch, root, _ = key.split(":")
    return int(epoch), bytes.fromhex(root)


def waits_for_finality(left_s: int, lag_s: int, is_final: bool) -> bool:
    """Whether a veto waits until what it rests on is final. `left_s`: of the window. `lag_s`: how
    far behind the head the newest final block is."""
    return not is_final and SPARE * lag_s < left_s


def unknown(root: Root) -> bool:
    """Of whoever has judged no root."""
    return False


@dataclass(frozen=True, slots=True)
class PendingRoots:
    """Raises NodeUnavailable, NodeRefused."""

    calls: DisputesCalls
    is_right: Callable[[Root], bool] = unknown
    """Whether a root is known to be that of the data: on the chain before a reorg the same words
    may have been wrong."""

    async def now(self) -> Root:
        """The root that waits in the newest block: epoch and 26 bytes; zeros where none waits."""
        contract = self.calls.deployment.address("CoreToken")
        found = await self.calls.rpc.eth_call(contract, PENDING_ROOT)
        if len(found) != 3 * 32:
            raise NodeUnavailable(f"the node sent {len(found)} bytes for a pending root")
        return int.from_bytes(found[:32], "big"), found[32:58]

    async def replaced(self, intents: Sequence[Intent]) -> Mapping[int, Weak]:
        """The grounds of vetoes: what is signed for must mean the root that waits, and that must
        not be right. What is not signed yet is void instead (`StillMeant`); what only spends a
        nonce means none."""
        pending = (intent for intent in intents if intent.state is State.PENDING)
        signed = [intent for intent in pending if not intent.key.startswith(NOTHING)]
        if not signed:
            return {}
        waits = await self.now()
        why = {intent.id: self.astray(root_of(intent.key), waits) for intent in signed}
        return {number: Weak(ROOT_REPLACED, text) for number, text in why.items() if text}

    def astray(self, meant: Root, waits: Root) -> str:
        """Why a veto of a root must not be in a block now; empty where it may."""
        if meant != waits:
            return REPLACED
        return IS_RIGHT if self.is_right(meant) else ""


@dataclass(frozen=True, slots=True)
class StillMeant:
    """As `StillTaken`, of vetoes: the contract would take one for any root of its epoch."""

    taken: StillTaken
    roots: PendingRoots

    async def __call__(self, intent: Intent) -> Moot | None:
        astray = self.roots.astray(root_of(intent.key), await self.roots.now())
        if astray:
            return Moot(astray, at_once=True)
        return await self.taken(intent)
