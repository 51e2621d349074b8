"""Which reports a data file holds, without building an object for each: 0.1 µs a report where numpy
is installed, else 0.6.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from corechain.protocol.batch import CONTEXT, DEVICE, VERDICT, Origin, read_head, read_identity
from corechain.protocol.errors import MalformedDataFile
from corechain.protocol.quality import Reason
from corechain.protocol.reader import Reader
from corechain.protocol.reading import FAIL, OBSERVATION_BYTES, SIGNATURE_BYTES

if TYPE_CHECKING:
    from corechain.devnet.reconcile.columns import KeyColumns

Keys = Union["KeyColumns", list[tuple[bytes, int]]]
_REPORT_HEAD = struct.Struct(">20sQH")


@dataclass(frozen=True, slots=True)
class Scanned:
    """`keys`: (device, sequence) of each report. `rejected`: observations by their reasons."""

    origin: Origin
    keys: Keys
    observations: int
    rejected: Counter[str]

    @property
    def readings(self) -> int:
        return self.observations - sum(self.rejected.values())


def scan(data: bytes) -> Scanned:
    """What stands in a data file. Judges nothing: `rebuild` does.

    Raises MalformedDataFile, also for an observation that was rejected without a reason.
    """
    reader = Reader(data)
    origin, _ = read_head(reader)
    _skip_identities(reader)
    reader.take(reader.count() * CONTEXT.size)
    keys, observations, end = _keys(data, reader.count(), reader.offset)
    if len(data) != end + observations * VERDICT.size:
        raise MalformedDataFile(f"{len(data) - end} bytes are no {observations} verdicts")
    return Scanned(origin, keys, observations, _rejected(data, end))


def _skip_identities(reader: Reader) -> None:
    count = reader.count()
    size = DEVICE.size * count
    # Without a P-256 key among them all rows have one size, and their last byte says so.
    kinds = reader.data[reader.offset : reader.offset + size][DEVICE.size - 1 :: DEVICE.size]
    if len(kinds) == count and not kinds.strip(b"\1"):
        reader.take(size)
        return
    for _ in range(count):
        read_identity(reader)


def _keys(data: bytes, count: int, offset: int) -> tuple[Keys, int, int]:
    """The keys of the reports, their observations, and the offset behind them."""
    try:
        from corechain.devnet.reconcile.columns import keys_at
    except ImportError:  # no numpy: it comes with the services
        return _keys_one_by_one(data, count, offset)
    return keys_at(data, offset, count)


def _keys_one_by_one(
    data: bytes, count: int, offset: int
) -> tuple[list[tuple[bytes, int]], int, int]:
    keys, observations = [], 0
    try:
        for _ in range(count):
            device, sequence, size = _REPORT_HEAD.unpack_from(data, offset)
            offset += _REPORT_HEAD.size + size * OBSERVATION_BYTES + SIGNATURE_BYTES
            observations += size
            keys.append((device, sequence))
    except struct.error as error:
        raise MalformedDataFile(f"the data file ends inside report {len(keys)}") from error
    return keys, observations, offset


def _rejected(data: bytes, start: int) -> Counter[str]:
    found: Counter[str] = Counter()
    # A look at all flags at once: nearly always there is nothing rejected.
    if FAIL not in data[start :: VERDICT.size]:
        return found
    for flag, reasons in VERDICT.iter_unpack(data[start:]):
        if flag == FAIL:
            found[_words(reasons)] += 1
    return found


def _words(reasons: int) -> str:
    names = [reason.name or "" for reason in Reason if reasons & reason]
    if not names:
        raise MalformedDataFile("an observation was rejected without a reason")
    return " ".join(names)


def places_of(data: bytes, wanted: frozenset[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """Those of the wanted reports that a file holds, as often as it does."""
    return (key for key in scan(data).keys if key in wanted)
