"""Who signed for a device: itself, or a bridge for a station that cannot.

A bridge marks the keys that it makes: their device ids begin with two agreed bytes. The id is in
every report, reading, proof and data file, so the mark goes wherever a reading goes, and a contract
can look at it too. It is the word of the bridge: it can only lower what a device is worth.
"""

from enum import StrEnum

BRIDGE_MARK = bytes.fromhex("b51d")
"""First bytes of a bridge's device ids; of other ids, one in 65,536 has them by chance."""


class Provenance(StrEnum):
    """How far a reading can be trusted to be its device's."""

    DEVICE = "device"
    """Signed by the device's own key."""
    BRIDGE = "bridge"
    """Signed by a bridge, from what a station without a key sent it."""


def provenance_of(device: bytes) -> Provenance:
    return Provenance.BRIDGE if device.startswith(BRIDGE_MARK) else Provenance.DEVICE
