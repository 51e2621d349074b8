"""One of several nodes that must agree, and how long too few of them have answered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Block, Call, Rpc
from corechain.service.standing import Standing
from corechain.service.words import quantity

CHAIN = Call("eth_chainId")


class OtherChain(NodeUnavailable):
    """A node of another chain than the others: nothing that it says is about ours."""

    fault = "chain"

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"it serves chain {found}, not {expected}")
        self.expected, self.found = expected, found


@dataclass(slots=True, eq=False)
class Member:
    """One of the nodes; its number counts from 1, as in the settings.

    `chain_id`: what it has to serve, asked along with its first question and again after each time
    that it was left out; None: it is not asked.
    """

    number: int
    rpc: Rpc
    chain_id: int | None = None
    standing: Standing = field(default_factory=Standing)
    head: Block | None = None
    """Its newest block, when it last said so."""
    late: set["asyncio.Task[list[Any]]"] = field(default_factory=set)
    """Questions that it has not answered, while the others had."""
    is_of_chain: bool = False
    """Whether it has said so since it was left out last."""

    @property
    def height(self) -> int:
        return -1 if self.head is None else self.head.number

    def holds(self, block: Block) -> bool:
        """Whether that was its newest block."""
        return self.head is not None and self.head.hash == block.hash

    async def ask(self, calls: Sequence[Call]) -> list[Any]:
        """As `Questions.call_all`. Raises OtherChain, NodeUnavailable."""
        # Who asks for the chain judges it: with all nodes of another one the setting is wrong.
        if self.chain_id is None or self.is_of_chain or CHAIN in calls:
            return await self.rpc.call_all(calls)
        chain, *answers = await self.rpc.call_all([CHAIN, *calls])
        if isinstance(chain, NodeRefused):
            raise NodeUnavailable(str(chain))
        found = quantity(chain, "a chain id", 256)
        if found != self.chain_id:
            raise OtherChain(self.chain_id, found)
        self.is_of_chain = True
        return answers


@dataclass(slots=True)
class Lost:
    """Since when fewer nodes than must agree have answered; and, by method, since when those who do
    contradict each other. Times are monotonic seconds."""

    since: float | None = None
    disputes: dict[str, float] = field(default_factory=dict)

    def disputed(self, calls: Sequence[Call], now: float) -> None:
        for call in calls:
            self.disputes.setdefault(call.method, now)

    def agreed(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self.disputes.pop(call.method, None)

    def unsure(self, now: float) -> float:
        """Seconds for which nothing could be believed for one reason or the other."""
        began = min(self.disputes.values(), default=now)
        return max(self.seconds(now), now - began)

    def heard(self, enough: bool, now: float) -> None:
        if enough:
            self.since = None
        elif self.since is None:
            self.since = now

    def seconds(self, now: float) -> float:
        """0 while enough answer."""
        return 0.0 if self.since is None else now - self.since
