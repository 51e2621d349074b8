"""Python and Solidity agree on every digest, leaf, root, proof and statistic: 100,000 random cases.

Cases come from one seed and go to the contract many a call. CORECHAIN_DIFFERENTIAL multiplies them.
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.abi import (
    function_abi_to_4byte_selector,
    get_abi_input_types,
    get_abi_output_types,
)
from support.bench import Bench
from web3.contract import Contract

from corechain.devnet.servers import rpc
from corechain.protocol.archive import Group, Revealed
from corechain.protocol.batch import Header, ancestor_of
from corechain.protocol.eip712 import Domain
from corechain.protocol.hashing import hash26, keccak
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.reading import DeviceId, Reading
from corechain.protocol.receipts import Receipt, batches_domain
from corechain.protocol.statistics import StatisticsTree, locate, verify_range

SCALE = int(os.environ.get("CORECHAIN_DIFFERENTIAL", "1"))
CHUNK = 500
CASES_A_TREE = 4
"""Making it takes most of the time; which leaf or range is asked for matters as much."""
I32 = 2**31


@dataclass(frozen=True)
class Libraries:
    """The contract, asked without web3: it looked at each word of thousands six times, which took
    three quarters of these tests."""

    url: str
    contract: Contract

    def ask(self, name: str, *arguments: Any) -> list[Any]:
        """The list that a function returns."""
        function = self.contract.get_function_by_name(name).abi
        data = function_abi_to_4byte_selector(function)
        data += encode(get_abi_input_types(function), arguments)
        call = {"to": self.contract.address, "data": "0x" + data.hex()}
        answer = bytes.fromhex(rpc(self.url, "eth_call", call, "latest")[2:])
        (found,) = decode(get_abi_output_types(function), answer)
        return list(found)


@pytest.fixture(scope="module")
def libraries(chain: str) -> Libraries:
    return Libraries(chain, Bench(chain).deploy("Libraries"))


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"CoreChain {request.node.name}")


def chunks(count: int, make: Callable[[], Any], size: int = CHUNK) -> Iterator[list[Any]]:
    for _ in range(SCALE * count // size):
        yield [make() for _ in range(size)]


def test_leaves(libraries: Libraries, dice: random.Random) -> None:
    for cases in chunks(30_000, lambda: dice.randbytes(dice.randrange(200))):
        assert libraries.ask("leaves", cases) == [hash26(case) for case in cases]


def test_roots_from_proofs(libraries: Libraries, dice: random.Random) -> None:
    def trees() -> Iterator[tuple[bytes, int, list[bytes], bytes]]:
        while True:
            leaves = [dice.randbytes(40) for _ in range(dice.randint(1, 40))]
            tree = MerkleTree.over(leaves)
            for _ in range(CASES_A_TREE):
                position = dice.randrange(len(leaves))
                yield leaves[position], position, tree.proof(position), tree.root

    for cases in chunks(20_000, trees().__next__):
        found = libraries.ask("roots", [one[:3] for one in cases])
        assert found == [one[3] for one in cases]


def test_groups(libraries: Libraries, dice: random.Random) -> None:
    def case() -> Group:
        size = dice.choice([2, 3, 4, 5, 8, 9, 16, 31])
        return Group(dice.randrange(1, 2**47), [dice.randbytes(26) for _ in range(size)])

    for cases in chunks(5_000, case):
        firsts, packed = [one.first_batch_id for one in cases], [one.packed for one in cases]
        found = libraries.ask("groups", firsts, packed)
        assert found == [one.tree.root for one in cases]


def test_commitments(libraries: Libraries, dice: random.Random) -> None:
    def case() -> Revealed:
        links = [hash26(dice.randbytes(8)) for _ in range(4)]
        counts = dice.randrange(2**32), dice.randrange(2**32)
        window = dice.randrange(2**40), dice.randrange(2**40)
        hashes = dice.randbytes(32), dice.randbytes(32)
        header = Header(dice.randrange(2**48), *links, *hashes, *counts, *window)
        return Revealed(header, hash26(dice.randbytes(8)))

    for cases in chunks(15_000, case):
        words = [one.words() for one in cases]
        headers, readings = [one[0] for one in words], [one[1] for one in words]
        found = libraries.ask("commitments", headers, readings)
        assert found == [one.commitment for one in cases]


def test_ancestors(libraries: Libraries, dice: random.Random) -> None:
    for numbers in chunks(10_000, lambda: dice.randrange(2 ** dice.randint(1, 32))):
        lanes = [dice.randrange(2**16) << 32 for _ in numbers]
        found = libraries.ask("ancestors", [a | b for a, b in zip(lanes, numbers, strict=True)])
        expected = [a | ancestor_of(b) for a, b in zip(lanes, numbers, strict=True)]
        assert found == expected


def _readings(dice: random.Random) -> list[bytes]:
    count = dice.randint(1, 24)
    keys = sorted(dice.sample(range(200), count))
    extreme = dice.random() < 0.2
    values = [dice.choice([-I32, I32 - 1]) if extreme else dice.randrange(-I32, I32) for _ in keys]
    return [
        Reading(key // 100, 7, DeviceId(bytes(19) + bytes([key // 10])), key, value).pack()
        for key, value in zip(keys, values, strict=True)
    ]


def _key(packed: bytes) -> tuple[object, ...]:
    metric, cell, at = (int.from_bytes(packed[a:b], "big") for a, b in ((0, 2), (2, 10), (30, 35)))
    return metric, cell, "0x" + packed[10:30].hex(), at


def test_statistics_of_ranges(libraries: Libraries, dice: random.Random) -> None:
    def trees() -> Iterator[tuple[tuple[object, ...], tuple[int, ...]]]:
        while True:
            leaves = _readings(dice)
            tree = StatisticsTree(leaves)
            for _ in range(CASES_A_TREE):
                yield case(leaves, tree)

    def case(
        leaves: list[bytes], tree: StatisticsTree
    ) -> tuple[tuple[object, ...], tuple[int, ...]]:
        low, high = sorted(dice.choice(leaves)[:35] for _ in range(2))
        start, end = locate(leaves, low, high)
        proof = tree.range_proof(start, end)
        stats = verify_range(tree.root, len(leaves), start, end, low, high, proof)
        words = (
            tree.root, len(leaves), _key(low), _key(high), start, end,
            b"".join(proof.leaves), b"".join(node.pack() for node in proof.nodes),
        )  # fmt: skip
        return words, (stats.count, stats.sum, stats.min, stats.max)

    for cases in chunks(5_000, trees().__next__, size=100):
        found = libraries.ask("ranges", [one[0] for one in cases])
        assert found == [one[1] for one in cases]


def test_digests(libraries: Libraries, dice: random.Random) -> None:
    contract = bytes.fromhex(libraries.contract.address[2:])
    for cases in chunks(15_000, lambda: dice.randbytes(32)):
        name = f"CoreChain {dice.randrange(2**32)}"
        domain = Domain(name, "1", libraries.contract.w3.eth.chain_id, contract)
        found = libraries.ask("digests", keccak(name.encode()), cases)
        assert found == [domain.digest(case) for case in cases]


def test_receipts(libraries: Libraries, dice: random.Random) -> None:
    batches = dice.randbytes(20)
    domain = batches_domain(libraries.contract.w3.eth.chain_id, batches)

    def case() -> Receipt:
        times = dice.randrange(2**40), dice.randrange(2**40)
        count = dice.randrange(1, 2 ** dice.randint(1, 32))
        return Receipt(dice.randrange(2**16), *times, dice.randbytes(26), count)

    for cases in chunks(1_000, case):
        words = [one.words() for one in cases]
        found = libraries.ask("receipts", words, "0x" + batches.hex())
        assert found == [one.digest(domain) for one in cases]
