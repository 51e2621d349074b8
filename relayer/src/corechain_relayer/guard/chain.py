"""What the guard asks of the chain."""

from dataclasses import dataclass

from corechain.deployment import Deployment
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Block, Rpc, to_hex
from corechain.service.words import quantity
from corechain_relayer.calldata import selector

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


def refusal(error: NodeRefused) -> str | None:
    """Name of the contract's error; None when it is not one that `answer` ends with."""
    data = error.data or ""
    is_hex = data.startswith("0x") and len(data) >= 10
    try:
        return _NAMES.get(bytes.fromhex(data[2:10])) if is_hex else None
    except ValueError:
        return None


async def first_block_since(rpc: Rpc, timestamp: int, head: Block, lowest: int) -> int:
    """A block before which all are older than this timestamp, by bisection. A block that the node
    does not show (forgotten, or not seen yet) makes it an earlier one than it could be."""
    low, high = lowest, max(lowest, head.number)
    while low < high:
        middle = (low + high) // 2
        block = await rpc.block(middle)
        if block is not None and block.timestamp < timestamp:
            low = middle + 1
        else:
            high = middle
    return low


@dataclass(frozen=True, slots=True)
class OnChain:
    """A demand as the contract has it now. Closed, or never made: `is_open` is False."""

    is_open: bool
    deadline: int


@dataclass(frozen=True, slots=True)
class DisputesContract:
    """DataBatches as the guard sees it. Raises NodeUnavailable, NodeRefused."""

    rpc: Rpc
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

    async def demand(self, demand_id: bytes) -> OnChain:
        """Raises NodeUnavailable also for an answer that is no demand: it is not a closed one."""
        found = await self.rpc.eth_call(self.address, DEMAND_OF + demand_id)
        if len(found) != 4 * 32:
            raise NodeUnavailable(f"demandOf: {len(found)} bytes are no demand")
        return OnChain(any(found[:32]), int.from_bytes(found[32:64], "big"))

    async def try_answer(self, call: bytes) -> str:
        """Empty when the contract would take the answer now, else the name of its refusal. Raises
        NodeRefused where it is the node that refuses."""
        asked = {"from": to_hex(self.sender), "to": to_hex(self.address), "data": to_hex(call)}
        try:
            await self.rpc.call("eth_call", asked, "latest")
        except NodeRefused as error:
            name = refusal(error)
            if name is None:
                raise
            return name
        return ""

    async def balance(self) -> int:
        """Wei."""
        raw = await self.rpc.call("eth_getBalance", to_hex(self.sender), "latest")
        return quantity(raw, "a balance", 256)
