"""Several nodes behind one address: each as far as its lag lets it be, and who answers is chance.

`balancer(url, lags)` gives a proxy before the real node at `url`. With `splits` each call of a
batch goes to a node of its own, as some balancers do; otherwise one HTTP request is one node's.
"""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.provider import BLOCK_METHODS, Call, Habits, Provider, serving

UNKNOWN = {"code": -32000, "message": "unknown block"}


@dataclass
class Balancer(Provider):
    """`lags`: blocks that each node is behind the real one.

    `by_method`: lags for single methods, by name, before all else.
    `silent`: a node says "no logs" of a block that it does not know, where it should refuse.
    `finalizes`: whether the nodes know the tag `finalized`.
    """

    lags: Sequence[int] = (0,)
    by_method: dict[str, Sequence[int]] = field(default_factory=dict)
    splits: bool = True
    silent: bool = False
    finalizes: bool = True
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    _lag: int = 0

    def answer(self, body: bytes) -> bytes:
        with self._lock:  # one request at a time, so that a seed means something
            document = json.loads(body)
            self._lag = self.chance.choice(self.lags)
            calls = document if isinstance(document, list) else [document]
            answers = [self._one(call) for call in calls]
            return json.dumps(answers if isinstance(document, list) else answers[0]).encode()

    def _one(self, call: Call) -> dict[str, Any]:
        method, params = call["method"], call["params"]
        self.calls.append(call)
        head = self._number("latest")
        known = max(0, head - self._lag_of(method))
        if method == "eth_getLogs":
            return self._logs(call, params[0], known)
        if method in BLOCK_METHODS:
            return self._block(call, params[0], known)
        if method == "eth_blockNumber":
            return self._says(call, hex(known))
        answer: dict[str, Any] = self._forwarded(call)
        return answer

    def _lag_of(self, method: str) -> int:
        if method in self.by_method:
            return self.chance.choice(self.by_method[method])
        return self.chance.choice(self.lags) if self.splits else self._lag

    def _block(self, call: Call, which: str, known: int) -> dict[str, Any]:
        if which == "finalized" and not self.finalizes:
            return self._error(call, {"code": -32602, "message": "unknown tag finalized"})
        if which == "latest":
            call = {**call, "params": [hex(known), False]}
        answer: dict[str, Any] = self._forwarded(call)
        found = answer.get("result")
        if found is not None and int(found["number"], 16) > known:
            return self._says(call, None)
        return answer

    def _logs(self, call: Call, query: dict[str, Any], known: int) -> dict[str, Any]:
        if "blockHash" in query:
            block = {**call, "method": "eth_getBlockByHash", "params": [query["blockHash"], False]}
            if self._block(block, query["blockHash"], known)["result"] is None:
                return self._says(call, []) if self.silent else self._error(call, UNKNOWN)
            answer: dict[str, Any] = self._forwarded(call)
            return answer
        first, last = int(query["fromBlock"], 16), min(int(query["toBlock"], 16), known)
        if first > last:
            return self._says(call, [])
        clipped: dict[str, Any] = self._forwarded(
            {**call, "params": [{**query, "toBlock": hex(last)}]}
        )
        return clipped

    @staticmethod
    def _says(call: Call, result: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}


@contextmanager
def balancer(upstream: str, **behaviour: Any) -> Iterator[Balancer]:
    """A running balancer before the node at `upstream`; `behaviour` as the fields of Balancer."""
    with serving(Balancer(upstream, Habits(), **behaviour)) as running:
        yield running
