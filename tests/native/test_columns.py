"""The native decoder and the Python one agree on every input."""

import hashlib
import random
from array import array
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol import frame
from corechain.protocol.errors import MalformedReport
from corechain.protocol.frame import columns_of, content_digest, content_digests, parse_columns
from corechain.protocol.reading import MAX_OBSERVATIONS
from corechain_native import columns
from corechain_native import content_digests as native_digests

HEAD, OBSERVATION, SIGNATURE = 30, 19, 64


def report(rng: random.Random, count: int, says: int | None = None) -> bytes:
    """`count` observations, where it says `says`."""
    said = (count if says is None else says).to_bytes(2, "big")
    return rng.randbytes(28) + said + rng.randbytes(OBSERVATION * count + SIGNATURE)


def mutated(rng: random.Random, packed: bytes) -> bytes:
    data = bytearray(packed)
    for _ in range(rng.randrange(4)):
        kind, at = rng.randrange(5), rng.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] = rng.choice([0, 1, 4, 255, rng.randrange(256)])
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + rng.randrange(1, 120)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 120))
        elif len(data) >= HEAD:  # the count of the first report
            data[28:30] = rng.choice([0, 1, 2, 1024, 1025, 0xFFFF]).to_bytes(2, "big")
    return bytes(data)


def outcome(parse: Callable[[bytes], frame.Columns], packed: bytes) -> frame.Columns | str:
    try:
        return parse(packed)
    except MalformedReport as error:
        return str(error)


def agree(packed: bytes) -> None:
    expected, found = outcome(parse_columns, packed), columns(packed)
    assert outcome(columns_of, packed) == expected
    if isinstance(expected, str):
        assert found is None
        return
    assert found is not None
    assert frame.Columns(packed, *found) == expected
    bodies = [packed[one : two - SIGNATURE] for one, two in pairwise(expected.starts)]
    assert content_digests(expected) == b"".join(map(content_digest, bodies))


@given(st.binary(max_size=400))
def test_the_decoders_agree_on_any_bytes(packed: bytes) -> None:
    agree(packed)


@given(st.integers(0, 2**64 - 1))
def test_the_decoders_agree_on_reports_and_on_what_is_nearly_one(seed: int) -> None:
    rng = random.Random(seed)
    packed = b"".join(report(rng, rng.choice([1, 1, 2, 7, 20])) for _ in range(rng.randrange(5)))
    for _ in range(20):
        agree(mutated(rng, packed))


@pytest.mark.parametrize("count", [0, 1, MAX_OBSERVATIONS, MAX_OBSERVATIONS + 1, 0xFFFF])
def test_the_decoders_agree_at_the_ends_of_the_count(count: int) -> None:
    rng = random.Random(count)
    agree(report(rng, count))
    agree(report(rng, 1, says=count))
    agree(report(rng, 1) + report(rng, count)[:-1])


def test_a_digest_is_blake2b_at_every_length() -> None:
    for length in [*range(131), 254, 255, 256, 257, 383, 384, 385]:
        body = random.Random(length).randbytes(length)
        starts = array("I", [0, length + SIGNATURE])
        digest = hashlib.blake2b(body, digest_size=8).digest()
        found = native_digests(body + bytes(SIGNATURE), starts)
        assert found == digest[:7] + bytes([digest[7] | 1])


def test_offsets_of_other_bytes_are_refused() -> None:
    for starts in (array("I"), array("I", [0, 63]), array("I", [0, 200]), array("I", [99, 0])):
        with pytest.raises(ValueError, match="no reports begin there"):
            native_digests(bytes(100), starts)
