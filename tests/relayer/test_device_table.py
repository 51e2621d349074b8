"""What the aggregator's table of devices does for a frame, and what it does not do."""

from typing import ClassVar

from corechain.protocol.reading import DeviceId
from corechain_relayer.aggregator.devices import DeviceTable

FLEET = 1_000


class Counted(bytes):
    """A device id that counts how often one of them is looked at by a set or a dictionary."""

    looks: ClassVar[int] = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return bytes.__hash__(self)

    __eq__ = bytes.__eq__


def device(number: int) -> DeviceId:
    return DeviceId(Counted(number.to_bytes(20, "big")))


def test_looking_for_strangers_takes_no_step_a_device_of_the_fleet() -> None:
    table = DeviceTable(limit=FLEET)
    table.learn([device(number) for number in range(FLEET)], {}, {})
    stranger, known = device(FLEET + 1), device(1)
    Counted.looks = 0
    assert table.unknown([known, stranger, known]) == {stranger}
    assert Counted.looks < 20, "more looks than a frame of three reports needs"
