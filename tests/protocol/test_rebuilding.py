"""Opening a data file on columns takes and refuses what the reference does, in the same words."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.protocol import frame, roots
from corechain.protocol.batch import CONTEXT, DEVICE, HEAD, Origin, rebuild, seal
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import HighS, InvalidSignature, ProtocolError
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import DeviceIdentity, KeyType, P256Key, Secp256k1Key
from corechain.protocol.quality import State
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.rebuilding import Rebuilt, rebuild_columns

ORIGIN = Origin(5, ZERO26, ZERO26, 31337, b"\x11" * 20)
DOMAIN = registry_domain(ORIGIN.chain_id, ORIGIN.registry)
START = 1_359_676_800
WALLETS = [DeviceIdentity(DeviceId(bytes([n]) * 20), KeyType.SECP256K1) for n in (0, 1, 0x80)]
ELEMENT = P256Key(b"\x02" * 32).identity


def _file(rng: random.Random) -> bytes:
    identities = rng.choice([WALLETS, [*WALLETS, ELEMENT], WALLETS[:1]])
    known = {identity.device: identity for identity in identities}
    items = []
    for sequence in range(rng.randrange(1, 5)):
        seen = [
            Observation(
                rng.choice([1, 2, 5, 99]),
                7,
                START + 900 * rng.randrange(9),
                rng.choice([0, 9, 999]),
            )
            for _ in range(rng.randrange(1, 4))
        ]
        device = rng.choice(identities).device
        items.append(SignedReport(Report.of(device, sequence, seen), rng.randbytes(64)))
    items.append(
        SignedReport(
            Report.of(identities[0].device, 2**64 - 1, [Observation(4, 7, START, 101_000)]),
            bytes(64),
        )
    )
    keys = [(device, code) for device in known for code in (1, 4) if rng.random() < 0.5]
    states = {
        (device, code): State(101_000 if code == 4 else 5, START - 60 * rng.randrange(1, 99), 7)
        for device, code in keys
    }
    return seal(ORIGIN, items, known, states).data_file


def _mutated(rng: random.Random, file: bytes) -> bytes:
    data = bytearray(file)
    kind, at = rng.randrange(7), rng.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data += rng.randbytes(rng.randrange(1, 40))
    elif kind == 3:
        del data[at : at + rng.choice([1, 3, 19, DEVICE.size, CONTEXT.size])]
    elif kind == 4:  # a row of the devices twice
        start = HEAD.size + 4
        data[start:start] = data[start : start + DEVICE.size]
        data[start - 1] += 1
    elif kind == 5:  # a row of the context twice, or in another order
        devices = int.from_bytes(data[HEAD.size : HEAD.size + 4], "big")
        start = HEAD.size + 4 + DEVICE.size * devices + 4
        row = bytearray(data[start : start + CONTEXT.size])
        row[rng.choice([20, 21, 22, 25, 30])] ^= rng.choice([0, 1, 3])
        data[start:start] = row
        data[start - 1] = data[start - 1] + 1 & 0xFF
    else:  # some count
        place = rng.choice([HEAD.size, data.rfind(b"\0\0\0")])
        data[place : place + 4] = rng.choice([0, 1, 2, len(data), 2**32 - 1]).to_bytes(4, "big")
    return bytes(data)


def by_reference(file: bytes) -> Any:
    batch, origin = rebuild(file)
    flags = [(verdict.flag, int(verdict.reasons)) for each in batch.verdicts for verdict in each]
    return (
        *(batch.header, batch.commitment, batch.data_file, b"".join(batch.leaves), flags),
        *(batch.reports, batch.states, dict(batch.identities), origin),
    )


def on_columns(file: bytes) -> Any:
    found = rebuild_columns(file)
    batch = found.batch
    flags = list(zip(batch.flags.tolist(), batch.reasons.tolist(), strict=True))
    return (
        *(batch.header, batch.commitment, batch.data_file, batch.leaves, flags),
        *(list(batch.reports.reports()), batch.states.mapping(), found.identities, found.origin),
    )


def outcome(read: Callable[[bytes], Any], file: bytes) -> Any:
    try:
        return read(file)
    except ProtocolError as error:
        return type(error), str(error)


@pytest.fixture(params=["installed", "pure Python"], autouse=True, scope="module")
def _decoder(request: pytest.FixtureRequest) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "pure Python":
            for name in ("_native_columns", "_native_size"):
                patch.setattr(frame, name, None)
            for name in ("_native_rows", "_native_slices", "_native_merkle", "_native_statistics"):
                patch.setattr(roots, name, None)
        yield


@settings(max_examples=50)
@given(st.integers(0, 2**64 - 1))
def test_files_and_what_is_nearly_one_are_opened_as_by_the_reference(seed: int) -> None:
    rng = random.Random(seed)
    file = _file(rng)
    assert not isinstance(outcome(by_reference, file)[0], type)
    assert outcome(on_columns, file) == outcome(by_reference, file)
    for _ in range(12):
        wrong = _mutated(rng, file)
        assert outcome(on_columns, wrong) == outcome(by_reference, wrong)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_by_the_reference(data: bytes) -> None:
    assert outcome(on_columns, data) == outcome(by_reference, data)


def test_every_cut_of_a_file_is_refused_as_by_the_reference() -> None:
    file = _file(random.Random(3))
    for end in range(len(file)):
        assert outcome(on_columns, file[:end]) == outcome(by_reference, file[:end])


def _signed(key: Secp256k1Key | P256Key, sequence: int) -> SignedReport:
    report = Report.of(key.identity.device, sequence, [Observation(1, 7, START, 20)])
    return SignedReport(report, key.sign(report_digest(DOMAIN, report)))


def _opened(items: list[SignedReport], keys: list[Secp256k1Key | P256Key]) -> Rebuilt:
    known = {key.identity.device: key.identity for key in keys}
    return rebuild_columns(seal(ORIGIN, items, known, {}).data_file)


def test_signatures_of_a_file_on_columns_are_checked() -> None:
    keys: list[Secp256k1Key | P256Key] = [Secp256k1Key(b"\x01" * 32), P256Key(b"\x02" * 32)]
    good = [_signed(key, sequence) for key in keys for sequence in (1, 2)]
    _opened(good, keys).check_signatures()
    for place in range(len(good)):
        items = list(good)
        items[place] = SignedReport(good[place].report, good[place - 1].signature)
        with pytest.raises((InvalidSignature, HighS)):
            _opened(items, keys).check_signatures()
