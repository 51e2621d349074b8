"""Goes on where a sender has ended, also one that was killed.

What its log says is final, acknowledged or refused, is not sent again. Everything else is, also
what was under way: a report that the gateway has taken already is acknowledged once more.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corechain.devnet.fleet.acklog import MAGIC, AckLog, Kind, LogReader
from corechain.devnet.fleet.errors import MalformedFleetFile, UnfinishedLog
from corechain.devnet.fleet.head import Head

Run = tuple[int, int]
"""(first, count) of reports that follow each other."""
_OPEN = re.compile(rb"\0+")


@dataclass(frozen=True, slots=True)
class Left:
    """What is to be sent, in order, and the log to go on with."""

    log: AckLog
    runs: tuple[Run, ...]

    @property
    def count(self) -> int:
        """Reports that are to be sent."""
        return sum(count for _, count in self.runs)


def everything(path: Path, head: Head) -> Left:
    """A new log. Raises UnfinishedLog rather than to overwrite the log of a sender that was killed:
    nobody else knows what was acknowledged."""
    if _is_unfinished(path):
        raise UnfinishedLog(path)
    return Left(AckLog.begin(path, head), ((0, head.shape.total),))


def _is_unfinished(path: Path) -> bool:
    try:
        return not LogReader(path).has_end()
    except (FileNotFoundError, MalformedFleetFile):
        return False


def rest(path: Path, head: Head) -> Left:
    """Of a run that ended early; everything where no log was begun. A byte a report in memory.

    Raises MalformedFleetFile, also for the log of another file.
    """
    if _was_never_begun(path, head):
        return Left(AckLog.begin(path, head), ((0, head.shape.total),))
    reader = LogReader(path)
    if reader.head != head:
        raise MalformedFleetFile(path, "it is the log of other reports")
    final = bytearray(head.shape.total)
    for entry in reader.entries():
        is_final = entry.kind is not Kind.UNANSWERED
        final[entry.first : entry.first + entry.count] = bytes([is_final]) * entry.count
    runs = tuple((found.start(), len(found[0])) for found in _OPEN.finditer(final))
    return Left(AckLog.resume(reader), runs)


def _was_never_begun(path: Path, head: Head) -> bool:
    """No log, or its sender was killed while it wrote the head."""
    begin = head.pack(MAGIC)
    if not path.exists() or path.stat().st_size < len(begin):
        return not path.exists() or begin.startswith(path.read_bytes())
    return False


def requests(runs: tuple[Run, ...], a_request: int) -> Iterator[Run]:
    """The runs in pieces of at most so many reports."""
    for first, count in runs:
        for at in range(first, first + count, a_request):
            yield at, min(a_request, first + count - at)
