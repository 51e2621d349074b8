"""A chain as a model: blocks of events, forks at will, and nodes that know it more or less.

Consistent as a real one is (hashes, parents, bloom filters), and fast enough for a property test.
Only what a reader of logs asks is answered.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any

from eth_abi.abi import encode

from corechain.protocol.events import PACKED, Event
from corechain.protocol.hashing import keccak
from corechain.protocol.logs import topic_of
from corechain.service.blooms import mask_of
from support.provider import Call, Habits, Provider, serving

UNKNOWN = {"code": -32000, "message": "unknown block"}
_COMMA = re.compile(r",(?![^(]*\))")  # not those inside a struct
NO_TAG = {"code": -32602, "message": "unknown tag"}


def _word(value: Any) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    return bytes(value).rjust(32, b"\0") if len(value) == 20 else bytes(value).ljust(32, b"\0")


def _plain(value: Any, kind: str) -> Any:
    """As eth_abi takes it: addresses as text, structs as tuples."""
    if is_dataclass(value):
        kinds = kind.strip("()").split(",")
        parts = zip(fields(value), kinds, strict=True)
        return tuple(_plain(getattr(value, item.name), name) for item, name in parts)
    if kind == PACKED:
        return [value[at : at + 32] for at in range(0, len(value), 32)]
    return "0x" + value.hex() if kind == "address" else value


def encoded(event: Event) -> tuple[list[bytes], bytes]:
    """Topics and data of an event with static fields, or one of type `bytes` or `bytes32[]`."""
    parts = _COMMA.split(type(event).SIGNATURE.partition("(")[2].removesuffix(")"))
    values = [getattr(event, item.name) for item in fields(event)]
    topics, types, plain = [topic_of(type(event))], [], []
    for part, value in zip(parts, values, strict=True):
        if part.endswith(" indexed"):
            topics.append(_word(value))
        else:
            types.append(part)
            plain.append(_plain(value, part))
    return topics, encode(types, plain)


@dataclass(frozen=True)
class FakeBlock:
    """`happened`: (address of the contract, event), in order."""

    number: int
    parent: bytes
    salt: int
    happened: Sequence[tuple[bytes, Event]] = ()

    @cached_property
    def hash(self) -> bytes:
        content = repr((self.number, self.parent, self.salt, self.happened))
        return keccak(content.encode())

    @cached_property
    def logs(self) -> list[dict[str, Any]]:
        found = []
        for index, (address, event) in enumerate(self.happened):
            topics, data = encoded(event)
            found.append(
                {
                    "address": "0x" + address.hex(),
                    "topics": ["0x" + topic.hex() for topic in topics],
                    "data": "0x" + data.hex(),
                    "blockNumber": hex(self.number),
                    "blockHash": "0x" + self.hash.hex(),
                    "transactionHash": "0x" + keccak(self.hash + bytes([index])).hex(),
                    "logIndex": hex(index),
                }
            )
        return found

    @cached_property
    def header(self) -> dict[str, Any]:
        bloom = 0
        for address, event in self.happened:
            for item in (address, *encoded(event)[0]):
                bloom |= mask_of(item)
        return {
            "number": hex(self.number),
            "hash": "0x" + self.hash.hex(),
            "parentHash": "0x" + self.parent.hex(),
            "timestamp": hex(1_700_000_000 + 2 * self.number),
            "logsBloom": "0x" + bloom.to_bytes(256, "big").hex(),
        }


@dataclass
class FakeChain(Provider):
    """`blocks`: the chain as it is. `nodes`: the chains that the nodes at the address know.

    `splits`: each call of a batch may be answered by another node. `silent`: a node says "no logs"
    of a block that it does not know, where it should refuse. `blooms`: whether headers have them,
    `zeros`: whether they have nothing but zeros. Of Habits those about batches, ranges and logs
    count. `final`: what they call final and safe: a block's number, null, or an error (no tag).
    """

    nodes: list[list[FakeBlock]] = field(default_factory=list)
    blocks: list[FakeBlock] = field(default_factory=lambda: [FakeBlock(0, bytes(32), 0)])
    splits: bool = True
    silent: bool = False
    blooms: bool = True
    zeros: bool = False
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    final: int | dict[str, Any] | None = field(default_factory=lambda: dict(NO_TAG))
    salt: int = 0
    highest: int = 0
    _node: list[FakeBlock] = field(default_factory=list)

    def mine(self, happened: Iterable[tuple[bytes, Event]] = ()) -> FakeBlock:
        self.salt += 1
        last = self.blocks[-1]
        block = FakeBlock(last.number + 1, last.hash, self.salt, tuple(happened))
        self.blocks.append(block)
        self.highest = max(self.highest, block.number)
        return block

    def cut(self, number: int) -> None:
        """Takes the blocks after a number away; the nodes learn of it when they catch up."""
        del self.blocks[number + 1 :]

    def catch_up(self, node: int | None = None) -> None:
        for place in range(len(self.nodes)) if node is None else [node]:
            self.nodes[place] = list(self.blocks)

    def restore(self, node: int) -> None:
        """A node is set up from an old copy: it lacks the newest blocks that it had."""
        self.nodes[node] = self.nodes[node][: max(1, len(self.nodes[node]) - 4)]

    def events(self) -> Iterator[Event]:
        """All that happened on the chain as it is."""
        for block in self.blocks:
            yield from (event for _, event in block.happened)

    # ------------------------------------------------------------------ the nodes

    def answer(self, body: bytes) -> bytes:
        self._node = self.chance.choice(self.nodes)
        return super().answer(body)

    def _one(self, call: Call) -> dict[str, Any]:
        self.calls.append(call)
        node = self.chance.choice(self.nodes) if self.splits else self._node
        method, params = call["method"], call["params"]
        if method == "eth_chainId":
            return self._says(call, hex(31337))
        if method == "eth_getBlockByNumber":
            return self._by_number(call, node, params[0])
        if method == "eth_getBlockByHash":
            return self._says(call, self._shown(_with_hash(node, params[0])))
        assert method == "eth_getLogs", method
        return self._logs(call, node, params[0])

    def _by_number(self, call: Call, node: list[FakeBlock], tag: str) -> dict[str, Any]:
        if tag in ("finalized", "safe"):
            return self._marked(call, node)
        number = len(node) - 1 if tag == "latest" else int(tag, 16)
        return self._says(call, self._shown(node[number] if number < len(node) else None))

    def _marked(self, call: Call, node: list[FakeBlock]) -> dict[str, Any]:
        """The final block; one that is not there yet is made up."""
        if isinstance(self.final, dict):
            return self._error(call, self.final)
        if self.final is None or self.final < len(node):
            return self._says(call, None if self.final is None else self._shown(node[self.final]))
        return self._says(call, node[-1].header | {"number": hex(self.final)})

    def _shown(self, block: FakeBlock | None) -> dict[str, Any] | None:
        if block is None:
            return None
        header = block.header | ({"logsBloom": "0x" + "00" * 256} if self.zeros else {})
        return header if self.blooms else {k: v for k, v in header.items() if k != "logsBloom"}

    def _logs(self, call: Call, node: list[FakeBlock], query: dict[str, Any]) -> dict[str, Any]:
        if "blockHash" in query:
            block = _with_hash(node, query["blockHash"])
            if block is None and not self.silent:
                return self._error(call, UNKNOWN)
            blocks = [] if block is None else [block]
        else:
            self._check_range(call)
            first, last = (int(query[name], 16) for name in ("fromBlock", "toBlock"))
            blocks = node[first : last + 1]
        wanted = query.get("address")
        logs = [entry for block in blocks for entry in block.logs]
        found = [x for x in logs if wanted is None or x["address"] in wanted]
        return self._limited(call, self._says(call, found))

    @staticmethod
    def _says(call: Call, result: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}


def _with_hash(node: list[FakeBlock], name: str) -> FakeBlock | None:
    return next((block for block in node if "0x" + block.hash.hex() == name), None)


@contextmanager
def fake_chain(nodes: int = 1, **behaviour: Any) -> Iterator[FakeChain]:
    """A served chain with its genesis block; `behaviour` as the fields of FakeChain."""
    with serving(FakeChain("", Habits(), **behaviour)) as running:
        running.nodes = [list(running.blocks) for _ in range(nodes)]
        yield running
