"""Which lane of a relayer a device belongs to: a function of its id and the number of lanes.

A device's reports never reach two lanes at a time, so each lane can count its sequences by itself.
The number is the relayer's setting, and no contract or manifest states it: nobody can hold a batch,
or an answer of the query API, against it.
"""

from corechain.protocol.reading import DeviceId

_BITS = 64


def lane_of_device(device: DeviceId, lanes: int) -> int:
    """The lane, 0 to `lanes` - 1, of a device where there are so many lanes.

    The last 8 bytes of the id, as a fraction of 2^64, times the number of lanes, rounded down: ids
    are hashes, so lanes get equal shares. The last bytes, because some owners search for ids that
    begin with zeros. A fraction, because it keeps order: with twice the lanes each lane is split in
    two (lane n becomes 2n and 2n + 1), and no device moves between others.
    """
    return int.from_bytes(device[-_BITS // 8 :], "big") * lanes >> _BITS
