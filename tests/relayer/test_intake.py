"""What a gateway thinks of a request, without a socket: each check by itself, at its edge."""

import pytest

from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import (
    AncientTimestamp,
    FutureTimestamp,
    InvalidCell,
    InvalidSignature,
    MalformedReport,
    ProtocolError,
    RevokedDevice,
    UnknownDevice,
    UnknownMetric,
    UnsupportedMediaType,
    WrongChain,
)
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.report_json import DeclaredReport
from corechain_relayer.gateway.intake import JSON, PACKED, Judge, TimeLimits, decode, devices_of
from corechain_relayer.registry.view import Device, RegistryView

KEY, NOW, CELL = Secp256k1Key(b"\x01" * 32), 1_000_000.9, 0x872A1072BFFFFFF
DOMAIN = registry_domain(31337, b"\x11" * 20)
JUDGE = Judge(DOMAIN, TimeLimits(1000, 300))


def signed(**changes: int) -> SignedReport:
    fields = {"metric": 1, "cell": CELL, "observed_at": 1_000_000, "value": 1} | changes
    report = Report.of(KEY.identity.device, 1, [Observation(**fields)])
    return SignedReport(report, KEY.sign(report_digest(DOMAIN, report)))


def view(revoked: bool = False) -> RegistryView:
    identity = KEY.identity
    return RegistryView({identity.device: Device(identity, bytes(20), revoked)})


def verdict(
    item: SignedReport,
    chain_id: int | None = None,
    registry: bytes | None = None,
    known: RegistryView | None = None,
) -> SignedReport | ProtocolError:
    declared = DeclaredReport(item, chain_id, registry)
    (judged,) = JUDGE.judge([declared], view() if known is None else known, NOW)
    return judged


def test_a_good_report_comes_back_as_it_is() -> None:
    good = signed()
    assert verdict(good) is good
    assert verdict(good, DOMAIN.chain_id, DOMAIN.contract) is good


def test_times_are_accepted_up_to_both_limits() -> None:
    for at in (1_000_000 - 1000, 1_000_000 + 300):
        good = signed(observed_at=at)
        assert verdict(good) is good
    assert isinstance(verdict(signed(observed_at=1_000_000 - 1001)), AncientTimestamp)
    assert isinstance(verdict(signed(observed_at=1_000_000 + 301)), FutureTimestamp)


BAD = {
    "metric": (signed(metric=999), UnknownMetric),
    "cell": (signed(cell=0), InvalidCell),
    "signature": (SignedReport(signed(value=2).report, signed().signature), InvalidSignature),
}


@pytest.mark.parametrize(("item", "error"), BAD.values(), ids=BAD.keys())
def test_a_bad_report_is_its_error(item: SignedReport, error: type[ProtocolError]) -> None:
    assert isinstance(verdict(item), error)


def test_a_report_for_another_chain_or_registry_is_refused() -> None:
    assert isinstance(verdict(signed(), chain_id=1), WrongChain)
    assert isinstance(verdict(signed(), registry=b"\x22" * 20), WrongChain)


def test_only_devices_that_are_there_and_not_revoked_may_send() -> None:
    assert isinstance(verdict(signed(), known=RegistryView()), UnknownDevice)
    assert isinstance(verdict(signed(), known=view(revoked=True)), RevokedDevice)


def test_one_bad_report_stands_beside_the_others() -> None:
    items = [DeclaredReport(signed(), None, None), MalformedReport("no report")]
    judged = JUDGE.judge(items, view(), NOW)
    assert judged[0] == signed()
    assert isinstance(judged[1], MalformedReport)


def test_a_body_is_decoded_by_its_media_type() -> None:
    (item,) = decode(PACKED, signed().pack())
    assert isinstance(item, DeclaredReport)
    assert item.signed == signed()
    assert devices_of([item, MalformedReport("no report")]) == {KEY.identity.device}
    assert isinstance(decode(JSON, b"{}")[0], MalformedReport)
    with pytest.raises(UnsupportedMediaType):
        decode("text/plain", b"")
    with pytest.raises(MalformedReport):
        decode(PACKED, b"")
