"""The log of a sender: what the gateway answered for each report, 32 bytes an answer.

Entries have a checksum and the log has an end, so that a reader sees what was cut off or damaged.
The sender writes an entry after it has the answer: what is in the log was acknowledged, and what
was acknowledged is in the log but for the last second of a sender that was killed.
"""

import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from corechain.devnet.fleet.errors import MalformedFleetFile
from corechain.devnet.fleet.head import Head

MAGIC = b"CCAK"
KIND = "acknowledgements"
# Kind, code, count, first, time since the start in µs, latency in µs; a checksum follows.
_ENTRY = struct.Struct(">BHIQQI")
_NAME = struct.Struct(">BH24s")
_CRC = struct.Struct(">I")
ENTRY_BYTES = 32
_BODY_BYTES = ENTRY_BYTES - _CRC.size
U32_MAX = 2**32 - 1


class Kind(IntEnum):
    ACKNOWLEDGED = 1
    """Reports `first` to `first + count - 1` are durable, the gateway says."""
    REFUSED = 2
    """The gateway refused them for good; `code` is the reason."""
    UNANSWERED = 3
    """They were sent, and the sender was stopped before an answer came."""
    NAME = 4
    """The name of a reason."""
    END = 5
    """The sender has ended; `first` is the number of entries before."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer. `at_s`: since the log was begun; `latency_s`: from request to answer."""

    kind: Kind
    first: int
    count: int
    reason: str
    at_s: float
    latency_s: float


@dataclass(slots=True)
class AckLog:
    """Writes a log. Not durable entry by entry: `flush` hands all so far to the system."""

    file: BinaryIO
    _started: float = field(default_factory=time.monotonic)
    _codes: dict[str, int] = field(default_factory=dict)
    _entries: int = 0

    @classmethod
    def begin(cls, path: Path, head: Head) -> "AckLog":
        file = path.open("wb")
        file.write(head.pack(MAGIC))
        file.flush()
        return cls(file)

    @classmethod
    def resume(cls, reader: "LogReader") -> "AckLog":
        """Goes on with the log behind what `reader` has read whole: an end, and what a kill has cut
        off, are overwritten."""
        file = reader.path.open("r+b")
        file.seek(reader.end_offset)
        file.truncate()
        codes = {name: code for code, name in reader.names.items() if code}
        return cls(file, time.monotonic() - reader.last_s, codes, reader.count)

    def add(
        self, kind: Kind, first: int, count: int, latency_s: float = 0.0, reason: str = ""
    ) -> None:
        code = self._code(reason) if reason else 0
        at, latency = int(1e6 * (time.monotonic() - self._started)), int(1e6 * latency_s)
        self._write(_ENTRY.pack(kind, code, count, first, at, min(latency, U32_MAX)))

    def _code(self, reason: str) -> int:
        known = self._codes.get(reason)
        if known is None:
            known = self._codes[reason] = len(self._codes) + 1
            self._write(_NAME.pack(Kind.NAME, known, reason.encode()[:24]))
        return known

    def _write(self, body: bytes) -> None:
        body = body.ljust(_BODY_BYTES, b"\0")
        self.file.write(body + _CRC.pack(zlib.crc32(body)))
        self._entries += 1

    def flush(self) -> None:
        self.file.flush()

    def end(self) -> None:
        self.add(Kind.END, self._entries, 0)
        self.file.close()


@dataclass(slots=True)
class LogReader:
    """Reads a log from front to end. After `entries`, `whole` says whether it had its end, and
    `fault` what is wrong otherwise."""

    path: Path
    head: Head = field(init=False)
    whole: bool = field(init=False, default=False)
    fault: str = field(init=False, default="")
    count: int = field(init=False, default=0)
    """Entries that were read whole, names of reasons among them."""
    names: dict[int, str] = field(init=False, default_factory=dict)
    """Of reasons, by code."""
    last_s: float = field(init=False, default=0.0)
    """When the last answer came, since the log was begun."""
    _offset: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        with self.path.open("rb") as file:
            self.head = Head.read(self.path, file, MAGIC, KIND)
            self._offset = file.tell()

    def entries(self) -> Iterator[Entry]:
        """Up to the end, or to where the log is cut off. Raises MalformedFleetFile for an entry
        that cannot be: of reports that the fleet does not have."""
        self.whole, self.fault, self.names, self.count = False, "", {0: ""}, 0
        for body in self._bodies():
            if body[0] == Kind.NAME:
                _, code, text = _NAME.unpack_from(body)
                self.names[code] = text.rstrip(b"\0").decode(errors="replace")
            elif body[0] == Kind.END:
                self._finish(body)
                return
            else:
                entry = self._entry(body)
                self.last_s = entry.at_s
                yield entry
            self.count += 1
        self.fault = self.fault or f"it has no end: cut off behind {self.count} entries"

    @property
    def end_offset(self) -> int:
        """Where the log goes on behind the entries that were read whole."""
        return self._offset + ENTRY_BYTES * self.count

    def has_end(self) -> bool:
        """Whether its sender ended in order, without reading all of it."""
        with self.path.open("rb") as file:
            size = file.seek(0, 2) - self._offset
            if size < ENTRY_BYTES or size % ENTRY_BYTES:
                return False
            file.seek(-ENTRY_BYTES, 2)
            return file.read(1) == bytes([Kind.END])

    def _finish(self, body: bytes) -> None:
        expected = _ENTRY.unpack_from(body)[3]
        self.whole = expected == self.count
        if not self.whole:
            self.fault = f"it has {self.count} entries, its end says {expected}"

    def _bodies(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for number, entry in enumerate(iter(lambda: file.read(ENTRY_BYTES), b"")):
                body = entry[:_BODY_BYTES]
                if len(entry) < ENTRY_BYTES:
                    self.fault = f"it is cut off inside entry {number}"
                    return
                if _CRC.unpack(entry[_BODY_BYTES:])[0] != zlib.crc32(body):
                    self.fault = f"entry {number} is damaged"
                    return
                yield body

    def _entry(self, body: bytes) -> Entry:
        kind, code, count, first, at, latency = _ENTRY.unpack_from(body)
        known = kind in (Kind.ACKNOWLEDGED, Kind.REFUSED, Kind.UNANSWERED) and code in self.names
        if not known or not count or first + count > self.head.shape.total:
            raise MalformedFleetFile(
                self.path, f"an entry names reports {first} to {first + count}"
            )
        return Entry(Kind(kind), first, count, self.names[code], at / 1e6, latency / 1e6)
