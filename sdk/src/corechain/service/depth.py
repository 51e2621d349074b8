"""A node that is not asked what is final: depth alone counts, as an operator has decided.

A chain whose nodes know the tag `finalized` and never name a block by it (a private network without
a beacon chain: "finalized block not found", or null for ever) would have no final block at all. An
error that says "no such tag" is what every reader of the chain has an answer to.
"""

from collections.abc import Sequence
from typing import Any

from corechain.rpc_errors import INVALID_PARAMS
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Call, Rpc

METHOD, TAGS = "eth_getBlockByNumber", frozenset(("finalized", "safe"))


def _denial() -> NodeRefused:
    return NodeRefused(METHOD, INVALID_PARAMS, "depth counts, by the setting FINALITY")


def _asks(call: Call) -> bool:
    return call.method == METHOD and call.params[0] in TAGS


class DepthRpc(Rpc):
    """As Rpc, and of the tags `finalized` and `safe` it says that there are none."""

    async def call(self, method: str, *params: Any) -> Any:
        if _asks(Call(method, params)):
            raise _denial()
        return await super().call(method, *params)

    async def call_many(self, calls: Sequence[Call]) -> list[Any]:
        others = [call for call in calls if not _asks(call)]
        said = iter(await super().call_many(others) if others else [])
        return [_denial() if _asks(call) else next(said) for call in calls]
