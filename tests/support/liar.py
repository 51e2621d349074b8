"""A node that lies: a proxy before an honest one that changes what it says.

`liar(url)` is honest until `lie` is set, which may be done at any time.
"""

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.fake_chain import FakeChain
from support.provider import BLOCK_METHODS, Call, Habits, Provider, serving

Lie = Callable[["Liar", Call, Any], Any]
"""From a call and its honest result to what is said instead."""
FALSE = "0x" + "ab" * 32
BUSY = {"code": -32005, "message": "too many requests"}
NO = {"code": -32000, "message": "no"}


@dataclass
class Liar(Provider):
    """`lie`: None for an honest node. `mute`: no answer at all until it is set. `late_s`: so much
    later than an honest one it answers."""

    lie: Lie | None = None
    mute: threading.Event | None = None
    late_s: float = 0.0
    body: bytes | None = None
    """What it answers to everything, whatever was asked."""
    remembered: dict[str, Any] = field(default_factory=dict)

    def answer(self, body: bytes) -> bytes:
        if self.mute is not None:
            self.mute.wait()
        time.sleep(self.late_s)
        return super().answer(body) if self.body is None else self.body

    def _one(self, call: Call) -> dict[str, Any]:
        honest = super()._one(call)
        if self.lie is None or "result" not in honest:
            return honest
        said = self.lie(self, call, copy.deepcopy(honest["result"]))
        return (
            self._error(call, said.error)
            if isinstance(said, Refuses)
            else honest | {"result": said}
        )


@dataclass
class LyingChain(Liar, FakeChain):
    """A node of a modelled chain that lies."""


@dataclass(frozen=True)
class Refuses:
    """A JSON-RPC error instead of a result."""

    error: dict[str, Any]


def _of(*methods: str) -> Callable[[Callable[[Any], Any]], Lie]:
    """A lie about the results of these methods, where there is anything to lie about."""

    def made(change: Callable[[Any], Any]) -> Lie:
        def lie(liar: Liar, call: Call, result: Any) -> Any:
            return change(result) if call["method"] in methods and result else result

        return lie

    return made


def _tagged(tag: str, change: Callable[[Any], Any]) -> Lie:
    def lie(liar: Liar, call: Call, result: Any) -> Any:
        return change(result) if call["params"][:1] == [tag] and result else result

    return lie


logs, blocks, chain = _of("eth_getLogs"), _of(*BLOCK_METHODS), _of("eth_chainId")


def _log(**changes: Any) -> Callable[[Any], Any]:
    return lambda result: [*result[:-1], result[-1] | changes]


def _frozen(liar: Liar, call: Call, result: Any) -> Any:
    """Its head stands still."""
    if call["params"][:1] == ["latest"]:
        return liar.remembered.setdefault("latest", result)
    return result


def _invented(result: Any) -> Any:
    return [*result, result[-1] | {"logIndex": hex(int(result[-1]["logIndex"], 16) + 7)}]


DECEITS: Mapping[str, Lie] = {
    "a log left out": logs(lambda result: result[:-1]),
    "no logs at all": logs(lambda result: []),
    "a log twice": logs(lambda result: [*result, result[-1]]),
    "an invented log": logs(_invented),
    "other data in a log": logs(_log(data=FALSE)),
    "another topic in a log": logs(lambda r: [*r[:-1], r[-1] | {"topics": [FALSE]}]),
    "a log of another transaction": logs(_log(transactionHash=FALSE)),
    "a log of another block": logs(_log(blockHash=FALSE)),
    "a log out of the range": logs(_log(blockNumber="0xffffff")),
    "a removed log": logs(_log(removed=True)),
    "logs that are no logs": logs(lambda result: [1, 2]),
    "another hash at a height": blocks(lambda result: result | {"hash": FALSE}),
    "another parent": blocks(lambda result: result | {"parentHash": FALSE}),
    "another time": blocks(lambda result: result | {"timestamp": "0x1"}),
    "another block than asked for": blocks(lambda result: result | {"number": "0x1"}),
    "a filter of zeros": blocks(lambda result: result | {"logsBloom": "0x" + "00" * 256}),
    "a filter of ones": blocks(lambda result: result | {"logsBloom": "0x" + "ff" * 256}),
    "no filter": blocks(lambda result: {k: v for k, v in result.items() if k != "logsBloom"}),
    "a block without a hash": blocks(lambda result: result | {"hash": None}),
    "a head of another branch": _tagged("latest", lambda result: result | {"hash": FALSE}),
    "a head far ahead": _tagged("latest", lambda result: result | {"number": "0xffffff"}),
    "a head that stands still": _frozen,
    "a head at the beginning": _tagged("latest", lambda result: result | {"number": "0x1"}),
    "all is final": _tagged("finalized", lambda result: result | {"number": "0xffffff"}),
    "nothing but null": blocks(lambda result: None),
    "logs of null": logs(lambda result: None),
    "refuses logs": logs(lambda result: Refuses(NO)),
    "refuses blocks": blocks(lambda result: Refuses(NO)),
    "is busy": blocks(lambda result: Refuses(BUSY)),
    "another chain": chain(lambda result: "0x1"),
}  # fmt: skip
BODIES: Mapping[str, bytes] = {
    "no JSON": b"<html>welcome</html>",
    "an empty object": b"{}",
    "an empty answer": b"",
    "a number": json.dumps(7).encode(),
}


AWAY = ("hangs", "answers errors", "is gone")


@contextmanager
def away(node: Liar, how: str) -> Iterator[None]:
    """Meanwhile the node is away, in one of the ways of AWAY."""
    if how == "hangs":
        node.mute = threading.Event()
    elif how == "answers errors":
        node.lie = lambda liar, call, result: Refuses(NO)
    else:
        node.body = b""
    try:
        yield
    finally:
        mute, node.mute, node.lie, node.body = node.mute, None, None, None
        if mute is not None:
            mute.set()


def another_state(liar: Liar, call: Call, result: Any) -> Any:
    """It has no state and no logs of any contract, and other nonces."""
    method = call["method"]
    if method == "eth_call":
        return "0x" + "00" * (len(result) // 2 - 1)
    if method == "eth_getLogs":
        return []
    return hex(int(result, 16) + 7) if method == "eth_getTransactionCount" else result


@contextmanager
def liar_of_three(url: str, late_s: float = 0.0) -> Iterator[str]:
    """The addresses of three nodes, of which the first one sees another state, and answers so much
    later than the others; comma separated."""
    with liar(url, lie=another_state, late_s=late_s) as first:
        yield ",".join((first.url, url, url + "/"))


@contextmanager
def liar(upstream: str, **behaviour: Any) -> Iterator[Liar]:
    """A running liar before the node at `upstream`; `behaviour` as the fields of Liar."""
    with serving(Liar(upstream, Habits(), **behaviour)) as running:
        yield running
