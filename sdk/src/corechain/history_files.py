"""Histories as files that grow page by page, and go on after an interruption.

While an export is under way, `<name>.part` holds what was written and `<name>.part.state` where it
stands. The state is written after the rows that it counts, and what lies behind them is cut off
before an export goes on: so no row is lost, and none is there twice. At the end the file takes its
name, and the state goes. An export holds its `.part`: a second one to the same name is refused. One
that fails before its first page leaves nothing.
"""

import csv
import errno
import io
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from corechain.held_files import hold, let_go
from corechain.history import HistoryPage
from corechain.history_errors import ExportMismatch
from corechain.history_question import HistoryQuestion
from corechain.history_tables import KINDS, arrow, arrow_schema, columns_of, record_batch
from corechain.times import time_text

if TYPE_CHECKING:
    import pyarrow

ROWS_A_GROUP = 65_536
"""Of a Parquet file's row group: what is held in memory while it is made, some 20 MB."""


class State(msgspec.Struct, frozen=True):
    """`size`: bytes that are written; `rows`: readings in them; `parts`: files of a Parquet file
    that is not put together yet."""

    question: str
    form: str
    cursor: str | None
    size: int
    rows: int
    parts: int = 0


class Asked(Protocol):
    """A history."""

    question: HistoryQuestion

    @property
    def cursor(self) -> str: ...


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def is_under_way(path: Path) -> bool:
    """Whether an export to this path was begun and not finished."""
    return _beside(path, ".part.state").exists()


def was_left(path: Path) -> bool:
    """The same, of one that nobody is writing, and that holds a page. Raises FileInUse where
    somebody is writing it, ExportMismatch, OSError."""
    if not is_under_way(path):
        return False
    let_go(hold(_beside(path, ".part")))
    found = _state_at(_beside(path, ".part.state"))
    return found is not None and found.cursor is not None


def _state_at(path: Path) -> State | None:
    """Raises ExportMismatch, OSError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ExportMismatch(path, "it is no state of an export") from error


class HistoryFile(ABC):
    """A file under way. Close it. Raises ExportMismatch, FileInUse, OSError."""

    form: str

    def __init__(self, path: Path, history: Asked) -> None:
        self.path = path
        self._part = _beside(path, ".part")
        self._state_path = _beside(path, ".part.state")
        digest = history.question.digest()
        self._state = State(digest, self.form, None, 0, 0)
        self._first_cursor = history.cursor
        self._is_held = False
        self._holder: int | None = None
        self._is_new = False
        """It is ours, and holds no page yet."""

    def resumed(self) -> str:
        """The cursor to go on from: of what was left, or of the history itself."""
        if self.path.is_dir():  # os.replace() would say so when all is written
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(self.path))
        self._holder, self._is_held = hold(self._part), True
        found = _state_at(self._state_path)
        # One that was killed before its first page has nothing to go on with.
        if found is None or found.cursor is None:
            self._is_new = True
            self._begin()
            return self._first_cursor
        if (found.question, found.form) != (self._state.question, self.form):
            raise ExportMismatch(self._state_path, "it is of another question")
        self._state = found
        self._cut()
        return found.cursor

    def take(self, page: HistoryPage, cursor: str) -> None:
        """Writes a page, then where the export stands behind it."""
        self._write(page)
        rows, self._is_new = self._state.rows + sum(map(len, page.batches)), False
        self._keep(cursor, rows)

    def finish(self) -> int:
        """Gives the file its name; how many readings it has."""
        self._end()
        self._is_new = False
        # The state first: of what it says nothing may be missing while it is there.
        self._state_path.unlink()
        os.replace(self._part, self.path)
        self._clean()
        return self._state.rows

    def close(self) -> None:
        """Lets go of it. What was never begun is removed: nothing of it is worth going on with, and
        it would be in the way of the next question."""
        if not self._is_held:
            return
        if self._is_new:
            self._state_path.unlink(missing_ok=True)
            self._part.unlink(missing_ok=True)
        let_go(self._holder)
        self._is_held = False

    def _keep(self, cursor: str | None, rows: int) -> None:
        size, parts = self._written()
        self._state = State(self._state.question, self.form, cursor, size, rows, parts)
        new = _beside(self._state_path, ".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(self._state))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._state_path)

    @abstractmethod
    def _begin(self) -> None: ...

    @abstractmethod
    def _cut(self) -> None:
        """Away with what was written behind the state."""

    @abstractmethod
    def _write(self, page: HistoryPage) -> None:
        """Durably."""

    @abstractmethod
    def _written(self) -> tuple[int, int]:
        """Bytes and parts, as they are durable now."""

    def _end(self) -> None:  # noqa: B027
        """All is written."""

    def _clean(self) -> None:  # noqa: B027
        """What is not needed any more."""


class CsvFile(HistoryFile):
    """RFC 4180 with a header line; times as `2013-02-01T12:00:00Z`."""

    form = "csv"

    def _begin(self) -> None:
        self._part.write_bytes(b"")
        self._append([list(KINDS)])
        self._keep(None, 0)

    def _cut(self) -> None:
        if not self._part.exists() or self._part.stat().st_size < self._state.size:
            raise ExportMismatch(self._part, "it is shorter than what was written")
        os.truncate(self._part, self._state.size)

    def _write(self, page: HistoryPage) -> None:
        columns = columns_of(page.batches)
        columns["time"] = [time_text(second) for second in columns["time"]]
        self._append(zip(*columns.values(), strict=True))

    def _append(self, rows: Any) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        with self._part.open("ab") as file:
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())

    def _written(self) -> tuple[int, int]:
        return self._part.stat().st_size, 0


class ParquetFile(HistoryFile):
    """Row groups of 65,536 readings, compressed by zstd. A Parquet file is readable only at its
    end: until then every page is a file of its own beside it."""

    form = "parquet"

    def _begin(self) -> None:
        arrow()
        self._keep(None, 0)
        self._cut()

    def _cut(self) -> None:
        arrow()
        for number in range(self._state.parts):
            if not self._part_path(number).exists():
                raise ExportMismatch(self._part_path(number), "it is gone")
        # One at the most was written behind the state.
        self._part_path(self._state.parts).unlink(missing_ok=True)

    def _part_path(self, number: int) -> Path:
        return _beside(self.path, f".part.{number:06d}")

    def _write(self, page: HistoryPage) -> None:
        if not any(map(len, page.batches)):
            self._added = 0
            return
        pa, rows = arrow(), record_batch(page.batches)
        path = self._part_path(self._state.parts)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_batch(rows)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        self._added = 1

    _added = 0

    def _written(self) -> tuple[int, int]:
        return 0, self._state.parts + self._added

    def _end(self) -> None:
        pa = arrow()
        from pyarrow import parquet

        with parquet.ParquetWriter(self._part, arrow_schema(), compression="zstd") as writer:
            held: list[pyarrow.RecordBatch] = []
            for number in range(self._state.parts):
                with pa.ipc.open_file(str(self._part_path(number))) as reader:
                    held += [reader.get_batch(i) for i in range(reader.num_record_batches)]
                if sum(rows.num_rows for rows in held) >= ROWS_A_GROUP:
                    self._flush(writer, held)
                    held = []
            if held:
                self._flush(writer, held)

    @staticmethod
    def _flush(writer: Any, held: "list[pyarrow.RecordBatch]") -> None:
        table = arrow().Table.from_batches(held).unify_dictionaries()
        writer.write_table(table, row_group_size=ROWS_A_GROUP)

    def _clean(self) -> None:
        for number in range(self._state.parts):
            self._part_path(number).unlink(missing_ok=True)
