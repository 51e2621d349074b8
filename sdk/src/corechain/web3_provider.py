"""web3.py on our connection to the node. The only module that imports web3."""

from typing import Any

from web3 import Web3
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.base import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from corechain.node import ChainUnavailable, Node, NodeRefusal


class NodeProvider(BaseProvider):
    """Asks through a `Node`, so that its checks, its limits and its fork safety hold here too."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Raises ChainUnavailable."""
        try:
            result = self.node.call(method, *params)
        except NodeRefusal as refusal:
            error: Any = {"code": refusal.code, "message": refusal.message, "data": refusal.data}
            return {"jsonrpc": "2.0", "id": 0, "error": error}
        return {"jsonrpc": "2.0", "id": 0, "result": result}

    def is_connected(self, show_traceback: bool = False) -> bool:
        try:
            self.node.chain_id()
        except ChainUnavailable:
            return False
        return True


def web3_of(node: Node) -> Web3:
    """For chains of any habits: blocks of Polygon and BNB carry 97 bytes of `extraData`."""
    web3 = Web3(NodeProvider(node))
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return web3
