"""A file of signed reports, each of the same size: a request's body is a slice of it."""

import mmap
from dataclasses import dataclass
from pathlib import Path

from corechain.devnet.fleet.errors import MalformedFleetFile
from corechain.devnet.fleet.head import Head

MAGIC = b"CCFL"
KIND = "signed reports"


def create(path: Path, head: Head) -> int:
    """An empty file of the right size; the offset of its first report."""
    packed = head.pack(MAGIC)
    with path.open("wb") as file:
        file.write(packed)
        file.truncate(len(packed) + head.shape.total * head.shape.record_bytes)
    return len(packed)


@dataclass(frozen=True, slots=True)
class SignedFile:
    """An open file of signed reports."""

    head: Head
    view: memoryview

    def body(self, first: int, count: int) -> memoryview:
        """The packed reports from number `first` on, as a gateway takes them."""
        size = self.head.shape.record_bytes
        return self.view[first * size : (first + count) * size]


def open_signed(path: Path) -> SignedFile:
    """Mapped, not read: a file of ten million reports takes no memory of its own.

    Raises MalformedFleetFile, also when its signing was interrupted.
    """
    with path.open("rb") as file:
        head = Head.read(path, file, MAGIC, KIND)
        offset = file.tell()
        size = head.shape.total * head.shape.record_bytes
        # Not closed by hand: requests in flight may still hold slices, and the last one lets go.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(mapped) != offset + size:
        raise MalformedFleetFile(path, f"it has {len(mapped)} bytes, not {offset + size}")
    return SignedFile(head, memoryview(mapped)[offset:])
