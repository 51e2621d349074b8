"""Which sequences of a device were seen: its newest one and a bitmap of those below it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from corechain.protocol.errors import ReplayedSequence, SequenceOutOfReach, StaleSequence
from corechain.protocol.frame import DIGEST_BYTES as DIGEST_BYTES
from corechain.protocol.frame import content_digest as digest_of
from corechain.protocol.reading import U64_MAX, Report

GATEWAY_WIDTH = 1024
"""docs/protocol.md: more than this below the newest is stale."""
JOURNAL_WIDTH = 4096
"""Wider than the gateway's: what one of several gateways acknowledged is not stale here."""

FREE_UP_TO = 1 << 62
"""Any sequence up to here may come at any time: counters, and clocks down to nanoseconds (until the
year 2116) are below it. A jump below it only makes what is further down stale."""
REACH = 1 << 32
"""Above `FREE_UP_TO` a sequence may be so far above the device's newest: one mistake, or one forged
message of a thief of the key, leaves the device 2^63 more."""


def check_reach(device: bytes, sequence: int, newest: int) -> None:
    """Raises SequenceOutOfReach for a sequence that would leave the device without a next one."""
    highest = min(max(FREE_UP_TO, newest + REACH), U64_MAX - 1)
    if sequence > highest:
        raise SequenceOutOfReach(device, sequence, highest)


def content_digest(report: Report) -> bytes:
    """8 bytes that tell two reports of one sequence apart; `frame.content_digests` of one."""
    return digest_of(report.body())


class Seen(Enum):
    NEW = "new"
    REPLAYED = "replayed"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class SequenceWindow:
    """Immutable. Bit i of `bits` stands for sequence `newest - i`; `newest` -1 means none seen."""

    newest: int = -1
    bits: int = 0

    def look(self, sequence: int, width: int) -> Seen:
        below = self.newest - sequence
        if below < 0:
            return Seen.NEW
        if below > width:
            return Seen.STALE
        return Seen.REPLAYED if self.bits >> below & 1 else Seen.NEW

    def check(self, device: bytes, sequence: int, width: int) -> None:
        """Raises ReplayedSequence or StaleSequence unless the sequence is new."""
        seen = self.look(sequence, width)
        if seen is Seen.REPLAYED:
            raise ReplayedSequence(device, sequence)
        if seen is Seen.STALE:
            raise StaleSequence(device, sequence, self.newest)

    def with_seen(self, sequence: int, width: int) -> "SequenceWindow":
        ahead = sequence - self.newest
        if ahead <= 0:
            return SequenceWindow(self.newest, self.bits | 1 << -ahead)
        kept = self.bits << ahead if ahead <= width else 0
        return SequenceWindow(sequence, (kept | 1) & (1 << width + 1) - 1)

    def with_all(self, sequences: Iterable[int], width: int) -> "SequenceWindow":
        """In any order, and again: what is too far below the newest is left out."""
        wanted = set(sequences)
        if not wanted:
            return self
        low, high = min(wanted), max(wanted)
        newest = max(self.newest, high)
        ahead = newest - self.newest
        bits = self.bits << ahead if ahead <= width else 0
        if high - low + 1 == len(wanted):  # a device that counts: one run, without a step for each
            if newest - high <= width:
                bits |= (1 << len(wanted)) - 1 << newest - high
        else:
            for sequence in wanted:
                if newest - sequence <= width:
                    bits |= 1 << newest - sequence
        return SequenceWindow(newest, bits & (1 << width + 1) - 1)

    def merged(self, other: "SequenceWindow", width: int) -> "SequenceWindow":
        """What either has seen."""
        low, high = sorted((self, other), key=lambda window: window.newest)
        ahead = high.newest - low.newest
        shifted = low.bits << ahead if ahead <= width else 0
        return SequenceWindow(high.newest, (high.bits | shifted) & (1 << width + 1) - 1)

    def pack(self) -> bytes:
        """The bitmap for storage, little-endian and as short as it can be."""
        return self.bits.to_bytes((self.bits.bit_length() + 7) // 8, "little")

    @classmethod
    def unpack(cls, newest: int, bitmap: bytes) -> "SequenceWindow":
        return cls(newest, int.from_bytes(bitmap, "little"))
