"""What a gateway thinks of reports, without a socket: each check by itself, at its edge.

given a frame
  when nothing is wrong with it, no report has a fault
  when something is, each report has the fault that it has by itself
given a body
  when it is no report at all, it is refused; when an item of a list is none, that item is
"""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import (
    FutureTimestamp,
    InvalidCell,
    InvalidSignature,
    MalformedReport,
    ProtocolError,
    RevokedDevice,
    TimestampTooOld,
    UnknownDevice,
    UnknownMetric,
    UnsupportedMediaType,
    WrongChain,
)
from corechain.protocol.frame import FrameVerifier, columns_of
from corechain.protocol.keys import DeviceKey, P256Key, Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.report_json import report_to_json
from corechain_relayer.gateway.intake import (
    JSON,
    PACKED,
    Fault,
    FrameJudge,
    Intake,
    Judge,
    TimeLimits,
    intake_of,
)
from corechain_relayer.registry.view import Device, RegistryView

KEY, NOW, CELL = Secp256k1Key(b"\x01" * 32), 1_000_000.9, 0x872A1072BFFFFFF
DOMAIN = registry_domain(31337, b"\x11" * 20)
JUDGE = Judge(DOMAIN, TimeLimits(1000, 300))
FRAME_JUDGE = FrameJudge(JUDGE, FrameVerifier(DOMAIN))


def made(key: DeviceKey, **changes: int) -> SignedReport:
    fields = {"metric": 1, "cell": CELL, "observed_at": 1_000_000, "value": 1} | changes
    report = Report.of(key.identity.device, 1, [Observation(**fields)])
    return SignedReport(report, key.sign(report_digest(DOMAIN, report)))


def signed(**changes: int) -> SignedReport:
    return made(KEY, **changes)


def view(revoked: bool = False) -> RegistryView:
    identity = KEY.identity
    return RegistryView({identity.device: Device(identity, bytes(20), revoked)})


def packed(reports: Sequence[SignedReport]) -> bytes:
    return b"".join(report.pack() for report in reports)


def faults(reports: Sequence[SignedReport], known: RegistryView | None = None) -> list[Fault]:
    return FRAME_JUDGE.faults(columns_of(packed(reports)), known or view(), NOW)


def fault(item: SignedReport, known: RegistryView | None = None) -> Fault:
    (found,) = faults([item], known)
    return found


def test_a_good_report_has_no_fault() -> None:
    assert fault(signed()) is None


def test_times_are_accepted_up_to_both_limits() -> None:
    for at in (1_000_000 - 1000, 1_000_000 + 300):
        assert fault(signed(observed_at=at)) is None
    assert isinstance(fault(signed(observed_at=1_000_000 - 1001)), TimestampTooOld)
    assert isinstance(fault(signed(observed_at=1_000_000 + 301)), FutureTimestamp)


BAD = {
    "metric": (signed(metric=999), UnknownMetric),
    "cell": (signed(cell=0), InvalidCell),
    "signature": (SignedReport(signed(value=2).report, signed().signature), InvalidSignature),
}


@pytest.mark.parametrize(("item", "error"), BAD.values(), ids=BAD.keys())
def test_a_bad_report_is_its_error(item: SignedReport, error: type[ProtocolError]) -> None:
    assert isinstance(fault(item), error)


def test_only_devices_that_are_there_and_not_revoked_may_send() -> None:
    assert isinstance(fault(signed(), RegistryView()), UnknownDevice)
    assert isinstance(fault(signed(), view(revoked=True)), RevokedDevice)


# ------------------------------------------------------------------ a frame and its reports

SECURE, GONE, HIDDEN = P256Key(b"\x02" * 32), Secp256k1Key(b"\x03" * 32), P256Key(b"\x04" * 32)
STRANGER = Secp256k1Key(b"\x05" * 32)
KNOWN = RegistryView(
    {
        KEY.identity.device: Device(KEY.identity, bytes(20)),
        SECURE.identity.device: Device(SECURE.identity, bytes(20)),
        GONE.identity.device: Device(GONE.identity, bytes(20), revoked=True),
    }
)
CHANGES: list[dict[str, int]] = [
    {},
    {},
    {"metric": 999},
    {"cell": 0},
    {"observed_at": 0},
    {"observed_at": 2**40 - 1},
    {"metric": 999, "cell": 0, "observed_at": 0},
]
HONEST = [
    made(key, **change) for key in (KEY, SECURE, GONE, HIDDEN, STRANGER) for change in CHANGES
]
FORGED = [SignedReport(one.report, HONEST[0].signature[:-1] + b"\1") for one in HONEST]
GOOD = [made(key, value=value) for key in (KEY, SECURE) for value in range(5)]


@given(st.lists(st.sampled_from(HONEST + FORGED + GOOD), max_size=6))
def test_each_report_of_a_frame_has_the_fault_that_it_has_by_itself(
    reports: list[SignedReport],
) -> None:
    def told(found: list[Fault]) -> list[tuple[type[object], str]]:
        return [(type(one), str(one)) for one in found]

    alone = [JUDGE.fault(report, KNOWN, NOW) for report in reports]
    assert told(faults(reports, KNOWN)) == told(alone)


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=6))
def test_a_frame_of_good_reports_has_no_fault(reports: list[SignedReport]) -> None:
    assert faults(reports, KNOWN) == [None] * len(reports)


# ------------------------------------------------------------------ bodies


def of_json(*items: object) -> Intake:
    return intake_of(JSON, msgspec.json.encode(list(items)), DOMAIN)


def test_a_body_is_decoded_by_its_media_type() -> None:
    by_bytes = intake_of(PACKED, packed([signed(), signed(value=2)]), DOMAIN)
    by_text = of_json(report_to_json(signed()), report_to_json(signed(value=2)))
    for intake in (by_bytes, by_text):
        assert list(intake.columns.reports()) == [signed(), signed(value=2)]
        assert (list(intake.places), intake.count, intake.faults) == ([0, 1], 2, {})
    with pytest.raises(UnsupportedMediaType):
        intake_of("text/plain", b"", DOMAIN)
    with pytest.raises(MalformedReport):
        intake_of(PACKED, b"", DOMAIN)


def test_one_bad_item_stands_beside_the_others() -> None:
    intake = of_json({}, report_to_json(signed()))
    assert isinstance(intake.faults[0], MalformedReport)
    assert (list(intake.places), intake.count, intake.named) == ([1], 2, {})
    assert list(intake.columns.reports()) == [signed()]


def test_a_report_for_another_chain_or_registry_is_refused_by_name() -> None:
    document, registry = report_to_json(signed()), "0x" + DOMAIN.contract.hex()
    good = of_json(document | {"chain_id": 31337}, document | {"registry": registry})
    assert good.faults == {}
    bad = of_json(document | {"chain_id": 1}, document | {"registry": "0x" + "22" * 20})
    assert [type(error) for error in bad.faults.values()] == [WrongChain, WrongChain]
    assert list(bad.named.values()) == [signed(), signed()]
    assert not len(bad.columns)
