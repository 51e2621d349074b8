"""Bytes read from front to end, field by field."""

import struct
from dataclasses import dataclass

from corechain.protocol.errors import MalformedDataFile

COUNT = struct.Struct(">I")


@dataclass(slots=True)
class Reader:
    """Where the next field of a data file begins."""

    data: bytes
    offset: int = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises MalformedDataFile when the file ends before."""
        chunk = self.data[self.offset : self.offset + size]
        if len(chunk) != size:
            raise MalformedDataFile(f"the data file ends inside a field at byte {self.offset}")
        self.offset += size
        return chunk

    def count(self) -> int:
        """A number of rows. Raises MalformedDataFile when it cannot be one."""
        (value,) = COUNT.unpack(self.take(COUNT.size))
        if value > len(self.data):
            raise MalformedDataFile(f"the count {value} is larger than the file")
        return int(value)
