"""The chain as the mirror needs it: consistent ranges of logs, and a sign of new heads."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from corechain.deployment import Deployment
from corechain.service.errors import NodeRefused, NodeUnavailable, WrongNode
from corechain.service.rpc import Block, Log, Rpc
from corechain_indexer.reconcile import Ref

log = structlog.get_logger(__name__)

SUBSCRIBE = '{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'
RECONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Range:
    """All logs of our contracts in (after, through]; `through` stood all the while."""

    logs: list[Log]
    through: Ref


@dataclass(slots=True)
class Source:
    """Reads logs by range; the range shrinks when the node finds it too large, and grows again."""

    rpc: Rpc
    deployment: Deployment
    max_range: int
    _step: int = field(init=False)

    def __post_init__(self) -> None:
        self._step = self.max_range

    @property
    def addresses(self) -> Sequence[bytes]:
        return [contract.address for contract in self.deployment.contracts.values()]

    async def check_chain(self) -> None:
        """Raises WrongNode."""
        found = await self.rpc.chain_id()
        if found != self.deployment.chain_id:
            raise WrongNode(self.deployment.chain_id, found)

    async def stands(self, ref: Ref) -> bool:
        """Whether a block is on the node's canonical chain."""
        block = await self.rpc.block(ref.number)
        return block is not None and block.hash == ref.hash

    async def final_number(self, head: Block, confirmations: int) -> int:
        """The newest block that will not be undone: the node's word, or so many blocks back."""
        deep = max(0, head.number - confirmations)
        try:
            block = await self.rpc.block("finalized")
        except NodeRefused:  # a node without the tag
            return deep
        # A young devnet calls nothing, or its genesis, final.
        return max(block.number, 0) if block is not None and block.number else deep

    async def read(self, after: int, head: Block) -> Range | None:
        """The next range behind `after`; None when the chain moved under our hands (ask again)."""
        last = min(after + self._step, head.number)
        before = head if last == head.number else await self.rpc.block(last)
        if before is None:
            return None
        try:
            logs = await self.rpc.logs(self.addresses, [], after + 1, last)
        except NodeRefused as error:
            self._shrink(error)
            return None
        standing = await self.rpc.block(last)
        if standing is None or standing.hash != before.hash:
            return None
        self._step = min(self.max_range, self._step * 2)
        return Range(logs, Ref(last, before.hash))

    def _shrink(self, error: NodeRefused) -> None:
        if self._step == 1:
            raise NodeUnavailable(f"logs of a single block: {error}") from error
        self._step = max(1, self._step // 2)
        log.info("range halved", blocks=self._step, reason=str(error))


def _websocket(url: str) -> str:
    return "ws" + url.removeprefix("http")


async def announce_heads(url: str, new_head: Callable[[], None]) -> None:
    """Calls `new_head` for each head the node pushes. Without websockets we only poll."""
    while True:
        try:
            async with connect(_websocket(url), max_size=1 << 20) as socket:
                await socket.send(SUBSCRIBE)
                async for _ in socket:
                    new_head()
        except (OSError, TimeoutError, WebSocketException) as error:
            log.info("no pushed heads, polling", error=type(error).__name__, retry_s=RECONNECT_S)
        await asyncio.sleep(RECONNECT_S)
