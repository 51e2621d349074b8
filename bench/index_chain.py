"""A chain for bench/index.py: 200,000 logs of our contracts on anvil.

The contracts are stand-ins: at each address lies code that emits the logs which its calldata spells
out, so that a block of any content is one transaction. To who reads logs they are the real ones.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corechain.deployment import DeployedContract, Deployment
from corechain.devnet.servers import AnvilServer, rpc
from corechain.protocol import events as e
from corechain.protocol.hashing import keccak
from corechain.protocol.logs import topic_of

KINDS: dict[type[e.Event], tuple[str, int]] = {
    e.Transfer: ("CoreToken", 102_400),
    e.DeviceRegistered: ("DeviceRegistry", 50_000),
    e.Deposited: ("PaymentChannels", 40_000),
    e.BatchCommitted: ("DataBatches", 10_000),
    e.BatchesCommitted: ("DataBatches", 100),
}
"""Whose logs, and how many: as on a chain on which many pay, some register and few commit."""
IN_A_GROUP = 100
"""Batches in a BatchesCommitted."""
LOGS_A_BLOCK = 20, 100
NAMES = "DeviceRegistry", "DataBatches", "CoreToken", "PaymentChannels", "StateChannels"
SENDER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
"""The first account of every anvil."""
GAS = 16_000_000
"""Below the most that a transaction may ask for (EIP-7825)."""

# A call is a list of logs: where to go on for so many topics, length of the data, four topics, the
# data. Each is emitted and the next one begins behind its data.
_LOOP, _BODY = 1, 9
_TOPICS = "8160a00135826080013583606001358460400135"  # fourth to first, pushed in turn
_HEAD = f"5f5b36811060{_BODY:02x}57005b8060200135808260c0015f37"
_BEFORE = bytes.fromhex(_HEAD + _TOPICS + "845f873556")
_BRANCH_BYTES = 8
_END = len(_BEFORE) + 4 * _BRANCH_BYTES


def _branch(topics: int) -> bytes:
    """LOGn, and away with the topics that it did not take; padded to one length."""
    code = bytes([0x5B, 0xA0 + topics]) + b"\x50" * (4 - topics) + bytes([0x60, _END, 0x56])
    return code.ljust(_BRANCH_BYTES, b"\0")


EMITTER = (
    _BEFORE
    + b"".join(map(_branch, range(1, 5)))
    + bytes([0x5B, 0x01, 0x60, 0xC0, 0x01, 0x60, _LOOP, 0x56])
)


@dataclass(frozen=True, slots=True)
class Emitted:
    """A log to be: topics of 32 bytes, data in whole words."""

    topics: Sequence[bytes]
    data: bytes

    @property
    def spelt(self) -> bytes:
        place = len(_BEFORE) + (len(self.topics) - 1) * _BRANCH_BYTES
        head = place.to_bytes(32, "big") + len(self.data).to_bytes(32, "big")
        return head + b"".join(self.topics).ljust(128, b"\0") + self.data


def address_of(name: str) -> bytes:
    return keccak(b"bench " + name.encode())[12:]


def deployment_of(first_block: int) -> Deployment:
    contracts = {name: DeployedContract(name, address_of(name), first_block) for name in NAMES}
    return Deployment(31_337, contracts)


def _word(value: bytes | int) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def emitted(kind: type[e.Event], number: int) -> Emitted:
    """The log number `number` of its kind: numbers give keys, so that none is there twice."""
    key = keccak(kind.__name__.encode() + number.to_bytes(4, "big"))
    one, other = _word(key[12:]), _word(keccak(key)[12:])
    topic = topic_of(kind)
    if kind is e.Transfer:
        return Emitted([topic, one, other], _word(number * 10**15))
    if kind is e.DeviceRegistered:
        return Emitted([topic, one, other], _word(1) + bytes(64))
    if kind is e.Deposited:
        return Emitted([topic, key, other], _word(number * 10**12) + _word(number * 10**13))
    if kind is e.BatchCommitted:
        return Emitted([topic, _word(number + 1)], key[:26].ljust(32, b"\0"))
    first = 1 + KINDS[e.BatchCommitted][1] + number * IN_A_GROUP
    commitments = b"".join(keccak(key + bytes([n]))[:26] for n in range(IN_A_GROUP))
    padded = commitments.ljust(-(-len(commitments) // 32) * 32, b"\0")
    return Emitted([topic, _word(first)], _word(32) + _word(len(commitments)) + padded)


def blocks() -> Iterator[tuple[str, list[Emitted]]]:
    """Contract and logs of each block, kinds mixed, always the same."""
    chance = random.Random(11)
    left = {kind: count for kind, (_, count) in KINDS.items()}
    while left:
        kind = chance.choices(list(left), list(left.values()))[0]
        first = KINDS[kind][1] - left[kind]
        size = min(left[kind], chance.randint(*LOGS_A_BLOCK))
        yield KINDS[kind][0], [emitted(kind, number) for number in range(first, first + size)]
        left[kind] -= size
        if not left[kind]:
            del left[kind]


def total() -> int:
    return sum(count for _, count in KINDS.values())


def send(url: str, name: str, logs: Sequence[Emitted]) -> str:
    """Has a contract emit logs, all in one block. The transaction's hash."""
    data = "0x" + b"".join(entry.spelt for entry in logs).hex()
    call = {"from": SENDER, "to": "0x" + address_of(name).hex(), "data": data, "gas": hex(GAS)}
    done: Any = rpc(url, "eth_sendTransaction", call)
    return str(done)


def _fill(url: str) -> None:
    for name in NAMES:
        rpc(url, "anvil_setCode", "0x" + address_of(name).hex(), "0x" + EMITTER.hex())
    # Mined by hand: transactions that come while anvil mines would share the next block.
    rpc(url, "evm_setAutomine", False)
    for name, logs in blocks():
        send(url, name, logs)
        rpc(url, "evm_mine")
    rpc(url, "evm_setAutomine", True)


@contextmanager
def chain(folder: Path) -> Iterator[AnvilServer]:
    """A running anvil with all the logs. Made anew each time: it takes half a minute, as
    long as anvil takes to read the 400 MB in which it would keep them."""
    with AnvilServer(folder / "anvil") as server:
        rpc(server.url, "evm_mine")  # the block before the contracts' first
        _fill(server.url)
        yield server
