"""A private RPC of the challenger, beside the nodes that everybody sees."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

from chaos.node import ModelNode
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain_relayer.challenger import sending
from corechain_relayer.submitter.urgency import Pace

KEEPS = "26 a private RPC keeps what it takes"
DOWN = "39 the private RPC is down"


class Private(Enum):
    """None: there is none, all is sent publicly."""

    NONE, GOOD, KEEPS, DOWN = range(4)


class PrivateModel(ModelNode):
    """As `PrivateNode`: what is good ends in the same pool."""

    private = Private.NONE
    pace: Callable[[], Pace]

    async def send(self, transactions: Sequence[bytes]) -> list[NodeRefused | None]:
        public = partial(ModelNode.send, self)
        if self.private is Private.NONE:
            return await public(transactions)
        is_late = sending.is_late(self.pace())
        return await sending.send_privately(self._send, public, is_late, transactions)

    async def _send(self, transactions: Sequence[bytes]) -> list[NodeRefused | None]:
        if self.private is Private.GOOD:
            return await ModelNode.send(self, transactions)
        if self.private is Private.DOWN:
            self.world.fault(DOWN)
            raise NodeUnavailable("the private RPC is away")
        for raw in transactions:
            with self.world.effect("send", stored=False):
                self.known.check_journalled(raw)
        self.world.fault(KEEPS)
        return [None] * len(transactions)
