"""The native verifier says of every frame what the reference says, in the same words."""

import threading
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import forging
from support.forging import DOMAIN, FORGERIES, ODDITIES, Sent, frame_of, honest, sign

from corechain.protocol import native
from corechain.protocol.errors import InvalidSignature, ProtocolError
from corechain.protocol.frame import FrameVerifier, columns_of
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.verifying import KnownKeys, NativeFrameVerifier, frame_verifier
from corechain_native import LEARNED, UNJUDGED, VALID, verify_frame
from corechain_native._native import ffi, lib

WALLETS = [Secp256k1Key(bytes([index]) * 32) for index in range(1, 7)]
POOL = [sign(key, sequence, 1 + sequence % 3) for key in WALLETS for sequence in range(6)]
POOL += [sign(P256Key(b"\x21" * 32), sequence) for sequence in range(3)]
REFERENCE = FrameVerifier(DOMAIN)

Change = Callable[[Sent, Random], Sent]

sent_reports = st.builds(
    lambda sent, change, seed: change(sent, Random(seed)),
    st.sampled_from(POOL),
    st.sampled_from((honest,) * 8 + FORGERIES + ODDITIES),
    st.integers(0, 2**32),
)


def told(verdicts: list[ProtocolError | None]) -> list[tuple[str, str] | None]:
    return [None if error is None else (error.name, str(error)) for error in verdicts]


def new_verifier() -> NativeFrameVerifier:
    """That has met nobody."""
    return NativeFrameVerifier(DOMAIN, KnownKeys())


def assert_agreement(verifier: NativeFrameVerifier, sent: list[Sent]) -> None:
    columns, identities = frame_of(sent)
    expected = told(REFERENCE.verify_all(columns, identities))
    # Twice: the first time recovers the keys, the second has them and sums.
    for _ in range(2):
        assert told(verifier.verify_all(columns, identities)) == expected


KNOWING = NativeFrameVerifier(DOMAIN, KnownKeys())


@settings(max_examples=150, deadline=None)
@given(st.lists(sent_reports, max_size=12), st.booleans())
def test_any_frame_has_the_verdicts_of_the_reference(sent: list[Sent], first_contact: bool) -> None:
    assert_agreement(new_verifier() if first_contact else KNOWING, sent)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.strip("_"))
def test_a_forgery_among_the_honest_is_refused_alone(forge: Change) -> None:
    """Enough reports for a sum by buckets, too."""
    for place in (0, 17, 35):
        sent = [POOL[index % 36] for index in range(120)]
        sent[place] = forge(sent[place], Random(place))
        assert_agreement(new_verifier(), sent)
    columns, identities = frame_of(sent)
    assert sum(error is not None for error in REFERENCE.verify_all(columns, identities)) == 1


def _raw_verdicts(sent: list[Sent], random: bytes, keys: list[bytes]) -> bytes:
    """With factors and keys of the caller's choice."""
    columns, _ = frame_of(sent)
    count = len(sent)
    verdicts, digests, held = bytearray(count), bytearray(32 * count), bytearray(b"".join(keys))
    done = lib.corechain_verify_frame(
        columns.packed, len(columns.packed), ffi.from_buffer("uint32_t[]", columns.starts),
        count, DOMAIN.separator, columns.devices, b"\x01" * count,
        ffi.from_buffer("uint8_t[]", held), random, ffi.from_buffer("uint8_t[]", digests),
        ffi.from_buffer("uint8_t[]", verdicts),
    )  # fmt: skip
    assert done == 0
    return bytes(verdicts)


def test_two_forgeries_that_cancel_are_refused_because_factors_differ() -> None:
    pair = forging.cancelling_pair(WALLETS[0])
    keys = [WALLETS[0].identity.public_key or b""] * 2
    # The first bit is a factor's sign. Where a sign is lost, honest sums are not zero either, and
    # every frame is checked one by one: right, and three times as slow.
    for sign_bit in (b"\x00", b"\x80"):
        equal_factors = (sign_bit + bytes(14) + b"\x01") * 2 + bytes(40)
        assert _raw_verdicts(pair, equal_factors, keys) == b"\0\0", (
            "they cancel where factors agree"
        )
    opposite = bytes(15) + b"\x01" + b"\x80" + bytes(14) + b"\x01" + bytes(40)
    assert b"\0" not in _raw_verdicts(pair, opposite, keys)
    for _ in range(50):
        columns, identities = frame_of(pair)
        verdicts = KNOWING.verify_all(columns, identities)
        assert [type(verdict) for verdict in verdicts] == [InvalidSignature] * 2
    assert_agreement(new_verifier(), pair)


@pytest.mark.parametrize("make", ODDITIES, ids=lambda make: make.__name__.strip("_"))
def test_what_only_an_odd_signer_makes_is_judged_as_by_the_reference(make: Change) -> None:
    """Twenty seeds reach each edge of s."""
    made = [make(POOL[0], Random(seed)) for seed in range(20)]
    assert_agreement(new_verifier(), made)
    assert_agreement(new_verifier(), [*POOL[:3], *made, *POOL[3:9]])


@pytest.mark.parametrize("make", ODDITIES[2:], ids=lambda make: make.__name__.strip("_"))
def test_a_second_encoding_of_a_good_signature_is_refused(make: Change) -> None:
    columns, identities = frame_of([make(POOL[0], Random(seed)) for seed in range(5)])
    for verifier in (REFERENCE, new_verifier()):
        assert None not in verifier.verify_all(columns, identities)


def test_a_frame_of_more_than_one_sum_is_judged_whole() -> None:
    """8,192 reports are one sum: the forged one lies in the second."""
    sent = [POOL[index % 36] for index in range(8_300)]
    sent[8_250] = FORGERIES[0](sent[8_250], Random(1))
    columns, identities = frame_of(sent)
    verdicts = KNOWING.verify_all(columns, identities)
    assert [index for index, error in enumerate(verdicts) if error is not None] == [8_250]


def test_a_key_is_recovered_once_and_then_known() -> None:
    known = KnownKeys()
    columns, identities = frame_of(POOL[:12])
    assert NativeFrameVerifier(DOMAIN, known).verify_all(columns, identities) == [None] * 12
    wallets = [key.identity for key in WALLETS[:2]]
    held = known.of([identity.device for identity in wallets], bytes(64))
    assert bytes(held) == b"".join(identity.public_key or b"" for identity in wallets)


PUBLIC_KEYS = [key.identity.public_key or b"" for key in WALLETS]
wrong_keys = st.binary(min_size=64, max_size=64) | st.sampled_from([bytes(64), *PUBLIC_KEYS])


@settings(max_examples=30, deadline=None)
@given(st.lists(wrong_keys, min_size=len(WALLETS), max_size=len(WALLETS)))
def test_a_wrong_key_costs_a_recovery_and_changes_no_verdict(keys: list[bytes]) -> None:
    known = KnownKeys()
    for wallet, key in zip(WALLETS, keys, strict=True):
        known.learn(wallet.identity.device, key)
    sent = [*POOL[::3], FORGERIES[0](POOL[1], Random(3))]
    assert_agreement(NativeFrameVerifier(DOMAIN, known), sent)


def test_the_c_code_leaves_other_curves_to_others() -> None:
    columns, _ = frame_of(POOL[:3])
    devices = [columns.device(index) for index in range(3)]
    verdicts, _ = verify_frame(
        columns.packed, columns.starts, DOMAIN.separator, devices, b"\x01\x02\x01", bytearray(192)
    )
    assert list(verdicts) == [LEARNED, UNJUDGED, VALID]


def test_the_c_code_itself_recovers_where_a_key_is_wrong() -> None:
    keys = [PUBLIC_KEYS[5]] * 3
    assert _raw_verdicts(POOL[:3], bytes(range(48)) + bytes(40), keys) == b"\0\0\0"


def test_no_more_keys_are_held_than_allowed() -> None:
    known = KnownKeys(most=3)
    columns, identities = frame_of(POOL[:36])
    for _ in range(2):
        verdicts = NativeFrameVerifier(DOMAIN, known).verify_all(columns, identities)
        assert verdicts == [None] * 36
    assert len(known) == 3


def test_threads_share_a_verifier() -> None:
    verifier = NativeFrameVerifier(DOMAIN, KnownKeys(most=4))
    columns, identities = frame_of(POOL)
    wrong: list[object] = []

    def work() -> None:
        for _ in range(5):
            wrong.extend(error for error in verifier.verify_all(columns, identities) if error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_interpreter_runs_on_while_a_frame_is_verified() -> None:
    columns, identities = frame_of([POOL[index % 36] for index in range(3_000)])
    verifier, inside = NativeFrameVerifier(DOMAIN, KnownKeys()), threading.Event()

    def work() -> None:
        inside.set()
        verifier.verify_all(columns, identities)
        inside.clear()

    def turns_meanwhile() -> int:
        thread, turns = threading.Thread(target=work), 0
        thread.start()
        while thread.is_alive():
            turns += inside.is_set()
        return turns

    # Many tries: a busy machine may give this thread no core for as long as a frame takes.
    assert any(turns_meanwhile() > 1_000 for _ in range(50))


# 245 bytes of two reports; 94 are the least that a head and a signature take.
@pytest.mark.parametrize(
    "starts",
    [(0, 113, 500), (0, 113, 246), (0, 50, 226), (0, 93, 226), (113, 0, 226), (0, 226)],
)
def test_offsets_that_do_not_fit_are_refused(starts: tuple[int, ...]) -> None:
    assert native.library is not None
    columns = columns_of(b"".join(sent.signed.pack() for sent in POOL[:2]))
    wrong = type(columns.starts)("I", starts)
    devices = [columns.device(0), columns.device(1)]
    with pytest.raises(ValueError, match="offsets"):
        native.library.verify_frame(
            columns.packed, wrong, DOMAIN.separator, devices, b"\x01\x01", bytearray(128)
        )


def test_lists_of_other_lengths_are_refused() -> None:
    assert native.library is not None
    columns = columns_of(POOL[0].signed.pack())
    with pytest.raises(ValueError, match="each report"):
        native.library.verify_frame(
            columns.packed, columns.starts, DOMAIN.separator, [], b"\x01", bytearray(64)
        )


def test_the_native_verifier_is_chosen_where_it_is() -> None:
    assert isinstance(frame_verifier(DOMAIN), NativeFrameVerifier)
