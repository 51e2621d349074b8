"""Columns say what the packed reports say, and refuse what the one-by-one parser refuses."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol import frame, native
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import HighS, InvalidSignature, MalformedReport
from corechain.protocol.frame import (
    Columns,
    FrameVerifier,
    columns_of,
    content_digest,
    content_digests,
)
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.reading import (
    U40_MAX,
    U64_MAX,
    DeviceId,
    Observation,
    Report,
    SignedReport,
    unpack_reports,
)
from corechain.protocol.signature import SECP256K1_ORDER
from corechain.protocol.verifying import NativeFrameVerifier, frame_verifier
from corechain.protocol.vocabulary import I32_MAX, I32_MIN

DOMAIN = registry_domain(31337, b"\x11" * 20)

observations = st.builds(
    Observation,
    st.integers(0, 0xFFFF),
    st.integers(0, U64_MAX),
    st.integers(0, U40_MAX),
    st.integers(I32_MIN, I32_MAX),
)
reports = st.builds(
    SignedReport,
    st.builds(
        Report.of,
        st.binary(min_size=20, max_size=20).map(DeviceId),
        st.integers(0, U64_MAX),
        st.lists(observations, min_size=1, max_size=4),
    ),
    st.binary(min_size=64, max_size=64),
)


def packed(items: list[SignedReport]) -> bytes:
    return b"".join(item.pack() for item in items)


def observations_of(columns: Columns, index: int) -> list[Observation]:
    span = slice(columns.firsts[index], columns.firsts[index + 1])
    fields = (columns.metrics[span], columns.cells[span], columns.times[span], columns.values[span])
    return [Observation(*row) for row in zip(*fields, strict=True)]


@given(st.lists(reports, max_size=5))
def test_columns_hold_what_the_reports_hold(items: list[SignedReport]) -> None:
    columns = columns_of(packed(items))
    assert list(columns.reports()) == items
    assert columns.device_ids() == [item.report.device for item in items]
    for index, item in enumerate(items):
        assert columns.report_bytes(index) == item.pack()
        assert columns.count(index) == item.report.count
        assert observations_of(columns, index) == item.report.observations()


@pytest.mark.parametrize("is_native", [True, False])
@given(items=st.lists(reports, max_size=5))
def test_a_digest_is_of_the_report_whoever_signed_it(
    items: list[SignedReport], is_native: bool
) -> None:
    again = [SignedReport(item.report, bytes(64)) for item in items]
    with pytest.MonkeyPatch.context() as patch:
        if not is_native:
            patch.setattr(frame, "_native_digests", None)
        digests = content_digests(columns_of(packed(items)))
        assert digests == content_digests(columns_of(packed(again)))
    assert digests == b"".join(content_digest(item.report.body()) for item in items)
    assert all(digest & 1 for digest in digests[7::8])


@given(st.lists(reports, min_size=1, max_size=5), st.data())
def test_selected_columns_are_those_of_the_selected_reports(
    items: list[SignedReport], data: st.DataObject
) -> None:
    places = data.draw(st.lists(st.integers(0, len(items) - 1), max_size=5))
    chosen = columns_of(packed(items)).select(places)
    assert list(chosen.reports()) == [items[place] for place in places]


def _outcome(parse: Callable[[], list[SignedReport]]) -> list[SignedReport] | str:
    try:
        return parse()
    except MalformedReport as error:
        return str(error)


@given(st.binary(max_size=400) | st.lists(reports, min_size=1, max_size=3).map(packed), st.data())
def test_columns_are_refused_where_reports_are(content: bytes, data: st.DataObject) -> None:
    cut = content[: data.draw(st.integers(0, len(content)))]
    assert _outcome(lambda: list(columns_of(cut).reports())) == _outcome(
        lambda: unpack_reports(cut)
    )


def _signed(key: Secp256k1Key | P256Key, sequence: int) -> SignedReport:
    report = Report.of(key.identity.device, sequence, [Observation(1, 1, 1, 1)])
    return SignedReport(report, key.sign(report_digest(DOMAIN, report)))


def _with_high_s(signed: SignedReport) -> SignedReport:
    s = SECP256K1_ORDER // 2 + 1
    return SignedReport(signed.report, signed.signature[:32] + s.to_bytes(32, "big"))


VERIFIERS: list[type[FrameVerifier]] = [FrameVerifier]
if native.library is not None:
    VERIFIERS.append(NativeFrameVerifier)


@pytest.fixture(params=VERIFIERS)
def verifier(request: pytest.FixtureRequest) -> FrameVerifier:
    made: FrameVerifier = request.param(DOMAIN)
    return made


def test_each_report_of_a_frame_has_its_own_verdict(verifier: FrameVerifier) -> None:
    wallet, element = Secp256k1Key(b"\x01" * 32), P256Key(b"\x02" * 32)
    good = [_signed(wallet, 1), _signed(element, 1)]
    forged = SignedReport(good[0].report, _signed(wallet, 2).signature)
    items = [good[0], forged, good[1], _with_high_s(good[0])]
    identities = [wallet.identity, wallet.identity, element.identity, wallet.identity]
    verdicts = verifier.verify_all(columns_of(packed(items)), identities)
    assert [type(verdict) for verdict in verdicts] == [
        type(None),
        InvalidSignature,
        type(None),
        HighS,
    ]


def test_the_reference_is_chosen_without_the_native_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "library", None)
    assert type(frame_verifier(DOMAIN)) is FrameVerifier


def test_an_empty_frame_has_no_verdicts(verifier: FrameVerifier) -> None:
    assert verifier.verify_all(columns_of(b""), []) == []
