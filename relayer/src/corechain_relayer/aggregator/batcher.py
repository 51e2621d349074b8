"""Decides what is in the open window and when it is due. Holds no clock and no socket.

Reports in order are taken by the frame, without a step for each; the others are looked at one by
one, against the whole window of their device.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Bits, Places, join_columns, take_columns, words
from corechain.protocol.frame import Columns
from corechain.protocol.reading import SIGNATURE_BYTES, DeviceId, SignedReport
from corechain_relayer.aggregator.devices import DeviceTable
from corechain_relayer.sequences import JOURNAL_WIDTH, Seen, SequenceWindow

IN_ORDER_BELOW = np.uint64(1 << 63)
"""Sequences from here on take the slow path: above them sums of 64 bits would wrap."""
KEY_BYTES = 28
"""Device 20 ‖ sequence 8: how a report begins."""
Windows = Mapping[DeviceId, SequenceWindow]


class Outcome:
    """What became of a report."""

    ACCEPTED = 0
    DUPLICATE = 1
    """The same report is in a window that is not in a batch yet."""
    CONFLICTING = 2
    """Another report with this sequence is."""
    COMMITTED = 3
    """A report with this sequence is in a batch; whether the same one, the journal knows."""
    STALE = 4
    """Too far below the newest to know whether it was seen."""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a frame's reports: an outcome each, in order."""

    columns: Columns
    outcomes: npt.NDArray[np.uint8]

    def count(self, outcome: int) -> int:
        return int((self.outcomes == outcome).sum())

    def reports(self, outcome: int) -> list[SignedReport]:
        return [self.columns.report(i) for i in np.flatnonzero(self.outcomes == outcome).tolist()]


class Placed(NamedTuple):
    """A frame's reports beside the table's rows of their devices."""

    columns: Columns
    rows: Places
    odd: Places
    """The reports of devices of which something here is out of order."""
    devices: set[DeviceId]
    """Those devices."""


class Part(NamedTuple):
    """What a window holds of a frame, and the rows of its devices."""

    frame: str
    columns: Columns
    rows: Places


@dataclass(frozen=True, slots=True)
class Window:
    """The content of a batch to be, and the ids of the frames that a sealed batch acknowledges."""

    columns: Columns
    frames: tuple[str, ...]
    rows: Places
    """Of its devices, each once."""


@dataclass(slots=True)
class Batcher:
    """Drops what was seen, collects the rest, in whole frames. Times in seconds, any origin.

    A window may exceed `max_readings` by one frame: a frame is never split, so that acknowledging
    it stays one step. While one window is made a batch (`take`), the next collects.
    """

    max_readings: int
    max_age_s: float
    table: DeviceTable
    _open: list[Part] = field(default_factory=list)
    _taken: list[Part] = field(default_factory=list)
    report_count: int = 0
    """Reports that are in no batch yet."""
    _observations: int = 0
    _held_observations: int = 0
    _since: float = 0.0

    def place(self, columns: Columns, rows: Places | None = None) -> Placed:
        """Where the devices of reports are, and which of them are out of order. The table must know
        them all, and forget none until the reports are added. `rows`: where they were looked up."""
        if rows is None:
            rows = self.table.rows_of(columns)
        assert (rows >= 0).all(), "learn a device before its reports"
        odd = np.flatnonzero(~self._in_order(rows, words(columns.sequences)))
        return Placed(columns, rows, odd, set(self.table.devices(np.unique(rows[odd]))))

    def low_keys(self, placed: Placed, committed: Windows) -> list[bytes]:
        """The reports, as device ‖ sequence, that are too far below what was taken to be known, or
        known to be in a batch: what is demanded on chain may come all the same."""
        columns, following, none = placed.columns, self.table.following, SequenceWindow()
        devices = self.table.devices(placed.rows[placed.odd])
        low = [
            index
            for index, device in zip(placed.odd.tolist(), devices, strict=True)
            if int(following[placed.rows[index]]) - 1 - columns.sequences[index] > JOURNAL_WIDTH
            or committed.get(device, none).look(columns.sequences[index], JOURNAL_WIDTH)
            is Seen.REPLAYED
        ]
        return [columns.report_bytes(index)[:KEY_BYTES] for index in low]

    def add(
        self,
        frame: str,
        placed: Placed,
        now: float,
        committed: Windows,
        readmitted: Container[bytes] = (),
    ) -> Added:
        """Takes a frame's reports. `committed`: windows of the devices that are out of order.
        `readmitted`: reports (device ‖ sequence) that are in no batch that can answer for them,
        however low they are.

        The window keeps the frame's id only when it keeps something of the frame: any other frame
        the caller may acknowledge at once, what it repeats is durable without it.
        """
        columns, rows, odd = placed.columns, placed.rows, placed.odd
        outcomes = np.zeros(len(columns), np.uint8)
        if len(odd):
            judge = _Judge(self, committed, np.unique(rows[odd]), readmitted)
            outcomes[odd] = [judge.outcome(columns, i, int(rows[i])) for i in odd.tolist()]
        accepted = np.flatnonzero(outcomes == Outcome.ACCEPTED)
        if 0 < len(accepted) < len(columns):
            part = Part(frame, take_columns(columns, accepted), rows[accepted])
            self._keep(part, now)
        elif len(accepted):
            self._keep(Part(frame, columns, rows), now)
        return Added(columns, outcomes)

    def _in_order(self, rows: Places, sequences: npt.NDArray[np.uint64]) -> Bits:
        """Reports of devices whose every report here is above all before it."""
        above = (sequences >= self.table.following[rows]) & (sequences < IN_ORDER_BELOW)
        order = np.argsort(rows, kind="stable")
        owners, numbers = rows[order], sequences[order]
        falls = (owners[1:] == owners[:-1]) & (numbers[1:] <= numbers[:-1])
        if above.all() and not falls.any():
            return above
        odd = np.concatenate([rows[~above], owners[1:][falls]])
        return ~np.isin(rows, odd)

    def _keep(self, part: Part, now: float) -> None:
        if not self._open:
            self._since = now
        self.table.take(part.rows, words(part.columns.sequences))
        self._open.append(part)
        self.report_count += len(part.columns)
        self._observations += part.columns.firsts[-1]

    def parts(self) -> Iterator[Part]:
        """All that is in no batch yet."""
        yield from self._taken
        yield from self._open

    def is_due(self, now: float) -> bool:
        """Full, or old enough; after `hold` only when there is something new in it."""
        return self.is_full or (self._fresh > 0 and self.wait_s(now) <= 0)

    @property
    def is_full(self) -> bool:
        return self._fresh >= self.max_readings

    @property
    def _fresh(self) -> int:
        return self._observations - self._held_observations

    def wait_s(self, now: float) -> float:
        """Seconds until the window is old enough; `max_age_s` when nothing is new in it."""
        if self._fresh == 0:
            return self.max_age_s
        return self._since + self.max_age_s - now

    def take(self) -> Window:
        """The window, to be made a batch; the next one starts empty. One at a time."""
        assert not self._taken, "one window at a time is made a batch"
        self._taken, self._open = self._open, []
        self._observations = self._held_observations = 0
        columns = join_columns([part.columns for part in self._taken])
        rows = np.unique(np.concatenate([part.rows for part in self._taken]))
        return Window(columns, tuple(part.frame for part in self._taken), rows)

    def clear(self) -> None:
        """The window that was taken is sealed and durable."""
        self.report_count -= sum(len(part.columns) for part in self._taken)
        self._taken = []

    def forget_idle(self) -> None:
        """Keeps the table within its limit. Not between `place` and `add`."""
        if len(self.table) <= self.table.limit:
            return  # asked once a frame: what is in use is gathered only when somebody has to go
        rows = [part.rows for part in self.parts()]
        moved = self.table.evict(np.concatenate([np.zeros(0, np.intp), *rows]))
        if moved is not None:
            self._taken = [part._replace(rows=moved[part.rows]) for part in self._taken]
            self._open = [part._replace(rows=moved[part.rows]) for part in self._open]

    def hold(self, now: float) -> None:
        """No observation in the window that was taken can be a leaf: keep it until there are
        others."""
        held = sum(part.columns.firsts[-1] for part in self._taken)
        if self._observations == 0:
            self._since = now
        self._taken, self._open = [], self._taken + self._open
        self._observations += held
        self._held_observations = held


def _body(columns: Columns, index: int) -> bytes:
    """A report without its signature: another one over the same content makes no other report."""
    return columns.report_bytes(index)[:-SIGNATURE_BYTES]


def _reports_of(parts: Sequence[Part], rows: Places) -> Iterator[tuple[Part, int]]:
    """(part, index in it) of the reports of some devices. All parts are searched at once: where
    requests are small there are thousands."""
    if not parts:
        return
    found = np.flatnonzero(np.isin(np.concatenate([part.rows for part in parts]), rows))
    firsts = np.cumsum([0, *(len(part.rows) for part in parts)])
    owners = np.searchsorted(firsts, found, side="right") - 1
    for owner, index in zip(owners.tolist(), (found - firsts[owners]).tolist(), strict=True):
        yield parts[owner], index


class _Judge:
    """Looks at reports one by one, exactly: for devices of which something is out of order."""

    def __init__(
        self, batcher: Batcher, committed: Windows, rows: Places, readmitted: Container[bytes]
    ) -> None:
        self._readmitted = readmitted
        self._bodies: dict[tuple[int, int], bytes] = {}
        self._windows: dict[int, SequenceWindow] = {}
        devices = batcher.table.devices(rows)
        for row, device in zip(rows.tolist(), devices, strict=True):
            self._windows[row] = committed.get(device, SequenceWindow())
        for part, index in _reports_of(list(batcher.parts()), rows):
            self._see(part.columns, index, int(part.rows[index]))

    def _see(self, columns: Columns, index: int, row: int) -> None:
        sequence = columns.sequences[index]
        self._bodies[row, sequence] = _body(columns, index)
        self._windows[row] = self._windows[row].with_all([sequence], JOURNAL_WIDTH)

    def outcome(self, columns: Columns, index: int, row: int) -> int:
        sequence = columns.sequences[index]
        seen = self._windows[row].look(sequence, JOURNAL_WIDTH)
        is_readmitted = columns.report_bytes(index)[:KEY_BYTES] in self._readmitted
        if seen is Seen.STALE and not is_readmitted:
            return Outcome.STALE
        # Also of what is readmitted: the window of sequences does not reach so far down.
        held = self._bodies.get((row, sequence))
        if held is not None:
            return Outcome.DUPLICATE if held == _body(columns, index) else Outcome.CONFLICTING
        if seen is Seen.REPLAYED and not is_readmitted:
            return Outcome.COMMITTED
        self._see(columns, index, row)
        return Outcome.ACCEPTED
