"""What the guard asks of the chain."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.deployment import Deployment
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import BATCH_CALLS, Block, Call, Questions, to_hex
from corechain.service.words import octets, quantity
from corechain_relayer.calldata import selector
from corechain_relayer.submitter.memory import WOULD_REVERT
from corechain_relayer.submitter.node import refusal_of
from corechain_relayer.submitter.views import views_at_head

DEMAND_OF, ANSWER_WINDOW = selector("demandOf(bytes32)"), selector("answerWindow()")
REFUSALS = (
    "UnknownDemand(bytes32)",
    "AnswerLate(uint40)",
    "NotAnAnswer()",
    "MalformedEvidence()",
    "InvalidProof()",
    "KeyMismatch(address,address)",
    # Of a receipt's report: its batch is not committed yet, has left the ring, or lost its bond.
    "UnknownBatch(uint48)",
    "NoBond(uint48)",
)
_NAMES = {selector(signature): signature.partition("(")[0] for signature in REFUSALS}

FIRST_BACK = 1_000
"""Blocks whose pace tells where a window begins, about."""
LONGEST_STEP = 32
"""Blocks of one second tell nothing about the pace of the others."""
REQUEST_BYTES = 1_000_000
"""Calldata in one request, twice as long in hexadecimal: geth takes 5 MB. An answer that shows a
report of 1,024 observations has 20 kB."""
MOST_FAILED = 8
"""Requests that fail one after the other: a hundred calls are divided seven times until one that
the node fails at stands alone."""
UNTOLD = "no, and not why,"
Said = str | NodeRefused | NodeUnavailable
"""Empty when the contract would take the answer now, else the name of its refusal; NodeRefused
where it is the node that refuses."""


def refusal(error: NodeRefused) -> str | None:
    """Name of the contract's error; None when it is not one that `answer` ends with."""
    data = error.data or ""
    is_hex = data.startswith("0x") and len(data) >= 10
    try:
        return _NAMES.get(bytes.fromhex(data[2:10])) if is_hex else None
    except ValueError:
        return None


async def first_block_since(
    rpc: Questions, timestamp: int, head: Block, lowest: int, first_back: int = FIRST_BACK
) -> int:
    """A block before which all are older than this timestamp, and not much before the first that is
    not. By steps back from the head that follow the pace of its blocks: three requests where that
    is even, on a chain of any age. A block that the node does not show (forgotten, or not seen yet)
    makes it the lowest."""
    window, reach = head.timestamp - timestamp, head.number - lowest
    young, back, old = 0, first_back, 0  # so many blocks back from the head
    while back < reach:
        block = await rpc.block(head.number - back)
        if block is None:
            return lowest
        age = head.timestamp - block.timestamp
        if age > window:
            old, further, is_near = back, back, 2 * age <= 3 * window
        else:
            young, further, is_near = back, _further(back, age, window), False
        # No block may be between them, where a chain has paused for longer than the window.
        if old and (is_near or old - young <= max(1, old // 4)):
            break
        back = min(further, (young + old) // 2) if old else further
    return head.number - old + 1 if old else lowest


def _further(back: int, age: int, window: int) -> int:
    """How far back the window begins at the pace of these blocks, and an eighth more."""
    wanted = back * window * 9 // (8 * max(1, age)) + 1
    return min(max(wanted, back * 5 // 4 + 1), LONGEST_STEP * back)


@dataclass(frozen=True, slots=True)
class OnChain:
    """A demand as the contract has it now. Closed, or never made: `is_open` is False."""

    is_open: bool
    deadline: int


def _on_chain(raw: object) -> OnChain:
    found = octets(raw, "a demand")
    if len(found) != 4 * 32:
        raise NodeUnavailable(f"demandOf: {len(found)} bytes are no demand")
    return OnChain(any(found[:32]), int.from_bytes(found[32:64], "big"))


def _said(answer: object) -> Said:
    if not isinstance(answer, NodeRefused):
        return ""
    # Many nodes keep the reason to themselves: another answer may be taken all the same.
    is_revert = refusal_of(answer) == WOULD_REVERT
    return refusal(answer) or (UNTOLD if is_revert else answer)


def parts_of(calls: Sequence[bytes]) -> list[Sequence[bytes]]:
    """In order, each of a size that nodes take in one request; a call that is longer goes alone."""
    parts: list[list[bytes]] = []
    room = 0
    for call in calls:
        if not parts or len(call) > room or len(parts[-1]) == BATCH_CALLS:
            parts.append([])
            room = REQUEST_BYTES
        parts[-1].append(call)
        room -= len(call)
    return list(parts)


@dataclass(frozen=True, slots=True)
class DisputesContract:
    """DataBatches as the guard sees it. Raises NodeUnavailable, NodeRefused."""

    rpc: Questions
    deployment: Deployment
    sender: bytes

    @property
    def address(self) -> bytes:
        return self.deployment.address("DataBatches")

    async def answer_window(self) -> int:
        """Seconds. Raises NodeUnavailable also where no contract answers."""
        found = await self.rpc.eth_call(self.address, ANSWER_WINDOW)
        if len(found) != 32 or not any(found):
            raise NodeUnavailable(f"answerWindow: 0x{found.hex()} is no number of seconds")
        return int.from_bytes(found, "big")

    async def demands(self, ids: Sequence[bytes]) -> tuple[Block, list[OnChain]]:
        """The newest block, and demands as they are there, a hundred in a request. Raises
        NodeUnavailable also for an answer that is no demand: it is not a closed one."""
        head, found = await views_at_head(self.rpc, self.address, [DEMAND_OF + i for i in ids])
        return head, [_on_chain(raw) for raw in found]

    async def try_answers(self, calls: Sequence[bytes]) -> list[Said]:
        """What the contract says to each, a hundred in a request. A request that fails is divided:
        one call alone may be what the node fails at. When it fails again and again, it is the
        node, and no more is asked."""
        found: list[Said] = []
        parts, failed = parts_of(calls), 0
        while parts:
            part = parts.pop(0)
            try:
                found += await self._try(part)
                failed = 0
            except NodeUnavailable as error:
                failed += 1
                if failed == MOST_FAILED:
                    return found + [error] * (len(calls) - len(found))
                middle = len(part) // 2
                if middle:
                    parts[:0] = [part[:middle], part[middle:]]
                else:
                    found.append(error)
        return found

    async def _try(self, calls: Sequence[bytes]) -> list[Said]:
        to = {"from": to_hex(self.sender), "to": to_hex(self.address)}
        asked = [Call("eth_call", (to | {"data": to_hex(call)}, "latest")) for call in calls]
        return [_said(answer) for answer in await self.rpc.call_all(asked)]

    async def balance(self) -> int:
        """Wei."""
        raw = await self.rpc.call("eth_getBalance", to_hex(self.sender), "latest")
        return quantity(raw, "a balance", 256)
