"""The native hash is the protocol's."""

import sha3
from hypothesis import given
from hypothesis import strategies as st

from corechain_native import keccak256

RATE = 136


@given(st.binary(max_size=5 * RATE))
def test_any_bytes_hash_as_the_reference_does(data: bytes) -> None:
    assert keccak256(data) == sha3.keccak_256(data).digest()


def test_every_length_around_a_block_hashes_as_the_reference_does() -> None:
    for length in range(3 * RATE):
        data = bytes(index % 251 for index in range(length))
        assert keccak256(data) == sha3.keccak_256(data).digest()
