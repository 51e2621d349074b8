"""How many devices send how many reports of how many observations, and where each one stands.

A report of a fleet has a number, from 0: files and logs name reports by it, so that an
acknowledgement of 500 reports takes 32 bytes.
"""

from dataclasses import dataclass

from corechain.devnet.fleet.errors import ImpossibleFleet
from corechain.protocol.reading import (
    MAX_OBSERVATIONS,
    OBSERVATION_BYTES,
    SIGNATURE_BYTES,
    U64_MAX,
)

BODY_HEAD_BYTES = 30
MAX_DEVICES = 10_000_000
MAX_REPORTS = 2**40


@dataclass(frozen=True, slots=True)
class Shape:
    """`devices` send `reports` each, of `observations` each.

    `by_device`: the reports of one device stand together (a backlog); else each device's first
    comes before any second one (a network in which all send in turn). Raises ImpossibleFleet.
    """

    devices: int
    reports: int
    observations: int = 1
    first_sequence: int = 1
    by_device: bool = False

    def __post_init__(self) -> None:
        limits = {
            "devices": (self.devices, 1, MAX_DEVICES),
            "reports": (self.reports, 1, MAX_REPORTS // max(1, self.devices)),
            "observations": (self.observations, 1, MAX_OBSERVATIONS),
            "first_sequence": (self.first_sequence, 0, U64_MAX - self.reports),
        }
        for name, (value, low, high) in limits.items():
            if type(value) is not int or not low <= value <= high:
                raise ImpossibleFleet(f"{name} is {value!r}, not a number from {low} to {high}")

    @property
    def total(self) -> int:
        return self.devices * self.reports

    @property
    def record_bytes(self) -> int:
        """Bytes of one packed report: all are of one size, so that a list is a slice of a file."""
        return BODY_HEAD_BYTES + self.observations * OBSERVATION_BYTES + SIGNATURE_BYTES

    def number(self, device: int, sequence: int) -> int | None:
        """The number of a report; None when the fleet does not send it."""
        turn = sequence - self.first_sequence
        if not 0 <= turn < self.reports:
            return None
        return device * self.reports + turn if self.by_device else turn * self.devices + device

    def share_devices(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        """Whether two runs, each a (first, count) of reports, have reports of one device."""
        (first, count), (begins, size) = one, other
        if self.by_device:
            return (
                first // self.reports <= (begins + size - 1) // self.reports
                and begins // self.reports <= (first + count - 1) // self.reports
            )
        return (begins - first) % self.devices < count or (first - begins) % self.devices < size

    def place(self, number: int) -> tuple[int, int]:
        """(number of the device, sequence) of a report."""
        assert 0 <= number < self.total
        if self.by_device:
            device, turn = divmod(number, self.reports)
        else:
            turn, device = divmod(number, self.devices)
        return device, self.first_sequence + turn
