"""What used sequences were used for, as rows of the journal and back. Pure but for asyncpg's type.

Without it a second report under a used sequence looks like the first one sent again.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from corechain.protocol.reading import DeviceId
from corechain_relayer.sequences import DIGEST_BYTES

if TYPE_CHECKING:
    from asyncpg import Record

CHUNK = 64
"""Sequences a row: a device that counts makes a new row for every 64 reports."""

Key = tuple[DeviceId, int]


def _place(sequence: int) -> slice:
    start = sequence % CHUNK * DIGEST_BYTES
    return slice(start, start + DIGEST_BYTES)


def chunks_of(keys: Iterable[Key]) -> list[list[Any]]:
    """Parallel arrays (device, chunk): the rows that say what these sequences were used for."""
    chunks = {(device, sequence // CHUNK) for device, sequence in keys}
    return [[device for device, _ in chunks], [number for _, number in chunks]]


def to_digests(rows: "Iterable[Record]", keys: Iterable[Key]) -> Mapping[Key, bytes]:
    """The digests of those keys that have one."""
    chunks = {(DeviceId(row["device"]), row["chunk"]): row["digests"].bytes for row in rows}
    found = {
        (device, sequence): chunks[device, sequence // CHUNK][_place(sequence)]
        for device, sequence in keys
        if (device, sequence // CHUNK) in chunks
    }
    return {key: digest for key, digest in found.items() if any(digest)}
