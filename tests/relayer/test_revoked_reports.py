"""Which reports of revoked devices must not come into a batch.

given a device that was revoked
  what it observed up to an hour later is nobody's fault, and what was seen later costs the bond
given devices that were not
  nothing is left out, and nothing is looked at a report
"""

import pytest

from corechain.protocol.events import DeviceRegistered, DeviceRevoked
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.reading import DeviceId, Observation
from corechain_relayer.aggregator.revoked import GRACE_S, late_reports
from corechain_relayer.registry.view import RegistryView
from relayer.support import Sensor, secp
from relayer.test_guard_receipts import DOMAIN

REVOKED_AT = 1_000_000


def window(*times: tuple[int, ...]) -> tuple[Columns, list[DeviceId]]:
    """A report a device, with observations at these times."""
    sensors = [Sensor(secp(n + 1), DOMAIN) for n in range(len(times))]
    reports = [
        sensor.sign([Observation(1, 0, at, 5) for at in each], 1)
        for sensor, each in zip(sensors, times, strict=True)
    ]
    packed = b"".join(report.pack() for report in reports)
    return columns_of(packed), [report.report.device for report in reports]


@pytest.mark.parametrize(
    ("times", "late"),
    [
        ((REVOKED_AT - 1,), []),
        ((REVOKED_AT + GRACE_S,), []),
        ((REVOKED_AT + GRACE_S + 1,), [1]),
        ((REVOKED_AT, REVOKED_AT + GRACE_S + 1), [1]),
    ],
)
def test_an_hour_after_its_revocation_a_device_is_heard_no_more(
    times: tuple[int, ...], late: list[int]
) -> None:
    columns, devices = window((REVOKED_AT * 2,), times, (REVOKED_AT * 2,))
    assert late_reports(columns, devices, {devices[1]: REVOKED_AT}).tolist() == late
    assert late_reports(columns, devices, {}).tolist() == []


def test_a_view_knows_when_and_its_copy_does_too() -> None:
    device = secp(1).identity.device
    view = RegistryView()
    registered = DeviceRegistered(device, bytes(19) + b"\1", 1, bytes(32), bytes(32))
    view.apply([registered, DeviceRevoked(device, REVOKED_AT)])
    assert view.revoked_at == view.__deepcopy__(None).revoked_at == {device: REVOKED_AT}
    assert view.__deepcopy__(None).revoked_at is not view.revoked_at
