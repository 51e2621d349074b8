"""Sums of many points, with factors of our choice: honest frames hold whatever the factors are.

A frame's factors are random, so that points meet in a bucket by chance alone. Here they are few and
equal, and reports come again and again: points that are added are often equal, or cancel. Both ways
of adding are asked, in vectors (where the processor has them) and one by one.
"""

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native.test_verifying import POOL, WALLETS, Change
from support.forging import DOMAIN, FORGERIES, ODDITIES, Sent, frame_of

from corechain.protocol.frame import FrameVerifier
from corechain.protocol.verifying import KnownKeys, NativeFrameVerifier
from corechain_native import INVALID, VALID
from corechain_native._native import ffi, lib

HONEST = POOL[:36]  # those with keys on secp256k1
KEYS = {key.identity.device: key.identity.public_key or b"" for key in WALLETS}
MANY = 30
"""Reports of as many buckets as take part: fewer are summed by the library's own way."""
FEW_FACTORS = [b"\0" * 15 + b"\1", b"\x80" + b"\0" * 14 + b"\1", b"\0" * 15 + b"\2", b"\x7f" * 16]
"""1, -1, 2, and one with many digits: in each window they meet, double and cancel."""

factors = st.sampled_from(FEW_FACTORS) | st.binary(min_size=16, max_size=16).filter(any)
repeated = st.lists(st.sampled_from(HONEST[:5]), min_size=MANY * 2, max_size=400)
various = st.lists(st.sampled_from(HONEST), min_size=MANY * 2, max_size=400)


@pytest.fixture(params=[1, 0], ids=["in vectors", "one by one"], autouse=True)
def lanes(request: pytest.FixtureRequest) -> Iterator[None]:
    lib.corechain_use_lanes(request.param)
    yield
    lib.corechain_use_lanes(1)


def verdicts_of(sent: Sequence[Sent], drawn: Sequence[bytes]) -> bytes:
    columns, identities = frame_of(list(sent))
    count = len(columns)
    found, digests = bytearray(count), bytearray(32 * count)
    keys = bytearray(b"".join(KEYS[identity.device] for identity in identities))
    failed = lib.corechain_verify_frame(
        columns.packed, len(columns.packed), ffi.from_buffer("uint32_t[]", columns.starts),
        count, DOMAIN.separator, columns.devices, b"\x01" * count,
        ffi.from_buffer("uint8_t[]", keys), b"".join(drawn) + bytes(range(40)),
        ffi.from_buffer("uint8_t[]", digests), ffi.from_buffer("uint8_t[]", found),
    )  # fmt: skip
    assert not failed
    return bytes(found)


def drawn(count: int, few: Sequence[bytes], seed: int) -> list[bytes]:
    random = Random(seed)
    return [random.choice(few) for _ in range(count)]


@given(repeated | various, st.lists(factors, min_size=1, max_size=6), st.integers(0, 2**32))
def test_an_honest_frame_holds_whatever_its_factors(
    sent: list[Sent], few: list[bytes], seed: int
) -> None:
    assert set(verdicts_of(sent, drawn(len(sent), few, seed))) == {VALID}


@given(various, st.sampled_from(FORGERIES[:1]), st.integers(0, 2**32))
def test_one_forgery_is_found_whatever_the_factors(
    sent: list[Sent], forge: Change, seed: int
) -> None:
    place = seed % len(sent)
    sent[place] = forge(sent[place], Random(seed))
    found = verdicts_of(sent, drawn(len(sent), FEW_FACTORS, seed))
    assert [index for index, verdict in enumerate(found) if verdict == INVALID] == [place]


def test_one_report_a_thousand_times_is_a_thousand_equal_points() -> None:
    for few in ([FEW_FACTORS[0]], FEW_FACTORS[:2], FEW_FACTORS):
        assert set(verdicts_of(HONEST[:1] * 1_000, drawn(1_000, few, 1))) == {VALID}


@pytest.mark.parametrize("size", [27, 28, 29, 60, 150, 999, 5_000])
def test_every_width_of_window_judges_as_the_reference(size: int) -> None:
    """Each window has buckets of its own; the widths follow the number of points."""
    sent = [HONEST[index % len(HONEST)] for index in range(size)]
    columns, identities = frame_of(sent)
    verifier = NativeFrameVerifier(DOMAIN, KnownKeys())
    assert set(verifier.verify_all(columns, identities)) == {None}  # the keys are learned
    assert set(verifier.verify_all(columns, identities)) == {None}


def test_roots_that_are_none_and_abscissas_at_the_edge_are_judged_as_by_the_reference() -> None:
    made = [make(sent, Random(seed)) for make in ODDITIES for seed, sent in enumerate(HONEST[:9])]
    sent = [*HONEST, *made]
    columns, identities = frame_of(sent)
    reference = FrameVerifier(DOMAIN).verify_all(columns, identities)
    expected = [fault and fault.name for fault in reference]
    verifier = NativeFrameVerifier(DOMAIN, KnownKeys())
    for _ in range(2):
        found = [fault and fault.name for fault in verifier.verify_all(columns, identities)]
        assert found == expected
