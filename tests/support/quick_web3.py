"""web3 on a node of this machine, without its way through `requests`."""

import weakref
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from web3 import Web3
from web3.providers.base import JSONBaseProvider

from support.processes import PATIENCE_S


class QuickProvider(JSONBaseProvider):
    """One connection that is kept, for one thread. Of what a call costs, `requests` takes half."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._node = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
        # A connection that is forgotten open is a warning, which is an error here.
        weakref.finalize(self, self._node.close)

    def make_request(self, method: Any, params: Any) -> Any:
        body = self.encode_rpc_request(method, params)
        self._node.request("POST", "/", body, {"content-type": "application/json"})
        return self.decode_rpc_response(self._node.getresponse().read())


def quick_web3(url: str) -> Web3:
    web3 = Web3(QuickProvider(url))
    # It asks for the chain's id before every call: more than half of all requests.
    web3.middleware_onion.remove("validation")
    return web3
