"""Histories as iterators: reading by reading, or page by page. They hold a place, and no page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msgspec.structs import replace

from corechain.history import Committed, Gaps, HistoryPage, Place, Taken, page
from corechain.history_answers import BatchOrigin, HistoricReading, HistoryBatch
from corechain.history_errors import HistoryGap
from corechain.history_question import HistoryQuestion
from corechain.paths import file_path
from corechain.protocol.errors import InvalidValue
from corechain.steps import Flow

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from corechain.history_files import HistoryFile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HistoryProgress:
    """How far a history is: readings and batches read so far, and how many batches are left, as the
    API says."""

    readings: int
    batches: int
    left: int

    @property
    def fraction(self) -> float:
        """0 to 1."""
        whole = self.batches + self.left
        return self.batches / whole if whole else 1.0


Progress = Callable[[HistoryProgress], object]
Stand = tuple[HistoryQuestion, str | None, Gaps, Progress | None, Callable[[], Committed | None]]
"""Question, cursor, what is done about gaps, who is told how far it is, and the chain to ask."""


class _Stand:
    """What both kinds have in common: the question, the place, and what was counted on the way."""

    def __init__(self, stand: Stand) -> None:
        question, cursor, gaps, progress, chain = stand
        if gaps not in ("raise", "report"):
            raise InvalidValue("gaps", gaps, "takes 'raise' or 'report'")
        if progress is not None and not callable(progress):
            raise InvalidValue("progress", progress, "takes a function of a HistoryProgress")
        self.question = question
        self.gaps: list[HistoryGap] = []
        """What was missing on the way, with gaps="report"."""
        self.lanes: set[int] = set()
        """Those that the history went through."""
        self._place = Place.of(question, cursor)
        self._mode, self._progress, self._chain = gaps, progress, chain
        self._readings = self._batches = self._rows = 0
        self._origin: BatchOrigin | None = None

    @property
    def cursor(self) -> str:
        """Where a new history of the same question goes on: behind the last reading, or page, that
        was taken. Text; keep it beside what you made of the readings."""
        return self._here().token()

    def _here(self) -> Place:
        if self._origin is None:
            return self._place
        taken = Taken(self._origin.batch_id, self._origin.commitment, self._rows)
        return replace(self._place, taken=taken)

    @property
    def is_done(self) -> bool:
        """Whether everything was taken."""
        return self._place.is_done

    def go_to(self, cursor: str | None) -> None:
        """Goes on behind a cursor of the same question; None: from its beginning. Raises
        InvalidValue."""
        self._place = Place.of(self.question, cursor)
        self._origin, self._rows = None, 0

    def _next_page(self) -> Flow[HistoryPage]:
        return page(self.question, self._here(), self._chain(), self._mode)

    def _came(self, found: HistoryPage) -> None:
        self.gaps += found.gaps
        self.lanes.update(batch.header.batch_id >> 32 for batch in found.batches)
        self._readings += sum(map(len, found.batches))
        self._batches += len(found.batches)
        if self._progress is not None:
            self._progress(HistoryProgress(self._readings, self._batches, found.left))

    def _took(self, found: HistoryPage) -> None:
        self._place, self._origin, self._rows = found.place, None, 0

    def _one_by_one(self, found: HistoryPage) -> Iterator[HistoricReading]:
        """The readings of a page; the cursor follows them."""
        here = self._here().taken
        for batch in found.batches:
            is_begun = here is not None and here.batch_id == batch.origin.batch_id
            taken = here.rows if is_begun and here is not None else 0
            for number, reading in enumerate(batch.readings, taken + 1):
                self._origin, self._rows = batch.origin, number
                yield reading
        self._took(found)


class History(_Stand):
    """An iterator of proven readings, `HistoricReading`s: by lane and batch as they were committed,
    oldest or newest first, within a batch by time. Raises while it is read what `page` of
    `corechain.history` raises; asked again, it goes on."""

    def __init__(self, run: Callable[[Flow[HistoryPage]], HistoryPage], stand: Stand) -> None:
        super().__init__(stand)
        self._run = run
        self._readings_left = self._all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> HistoricReading:
        try:
            return next(self._readings_left)
        except StopIteration:
            raise
        except BaseException:
            # A generator that has raised is over; the place is where it was. After Ctrl-C, too: who
            # then goes on would take what is left for nothing.
            self._readings_left = self._all()
            raise

    def _all(self) -> Iterator[HistoricReading]:
        while not self.is_done:
            found = self._run(self._next_page())
            self._came(found)
            yield from self._one_by_one(found)

    def pages(self) -> Iterator[HistoryPage]:
        """A page at a time: some dozens of batches, up to some 16,000 readings. The cursor is
        behind the page when it comes."""
        while not self.is_done:
            found = self._run(self._next_page())
            self._came(found)
            self._took(found)
            yield found

    def batches(self) -> Iterator[HistoryBatch]:
        """Batches that hold readings of the history, each as a whole."""
        for found in self.pages():
            yield from (batch for batch in found.batches if len(batch))

    def to_pandas(self) -> "pandas.DataFrame":
        """All that is left, in memory: some 300 bytes a reading. Raises MissingExtra, too."""
        from corechain.history_tables import to_pandas

        return to_pandas(self.pages())

    def to_arrow(self) -> "pyarrow.Table":
        """All that is left, in memory: some 150 bytes a reading. Raises MissingExtra, too."""
        from corechain.history_tables import to_arrow

        return to_arrow(self.pages())

    def to_csv(self, path: str | Path) -> int:
        """Writes all that is left, a page at a time (some 10 MB of memory); how many readings the
        file has. Asked again after an interruption, of the same question, it goes on where it was,
        and loses or repeats nothing (`corechain.history_files`). Raises ExportMismatch, FileInUse
        where another export writes it, OSError, too."""
        from corechain.history_files import CsvFile

        return self._written(CsvFile(file_path(path), self))

    def to_parquet(self, path: str | Path) -> int:
        """As `to_csv`. Raises MissingExtra, too."""
        from corechain.history_files import ParquetFile

        return self._written(ParquetFile(file_path(path), self))

    def _written(self, file: "HistoryFile") -> int:
        with closing(file):
            self.go_to(file.resumed())
            for found in self.pages():
                file.take(found, self.cursor)
            return file.finish()


class AsyncHistory(_Stand):
    """The same for asyncio: `async for reading in history`, `async for page in history.pages()`."""

    def __init__(
        self, run: Callable[[Flow[HistoryPage]], Awaitable[HistoryPage]], stand: Stand
    ) -> None:
        super().__init__(stand)
        self._run = run
        self._readings_left = self._all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> HistoricReading:
        try:
            return await anext(self._readings_left)
        except StopAsyncIteration:
            raise
        except BaseException:
            self._readings_left = self._all()
            raise

    async def _all(self) -> AsyncIterator[HistoricReading]:
        while not self.is_done:
            found = await self._run(self._next_page())
            self._came(found)
            for reading in self._one_by_one(found):
                yield reading

    async def pages(self) -> AsyncIterator[HistoryPage]:
        """As `History.pages`."""
        while not self.is_done:
            found = await self._run(self._next_page())
            self._came(found)
            self._took(found)
            yield found

    async def to_pandas(self) -> "pandas.DataFrame":
        """As `History.to_pandas`."""
        from corechain.history_tables import to_pandas

        return to_pandas([found async for found in self.pages()])

    async def to_arrow(self) -> "pyarrow.Table":
        """As `History.to_arrow`."""
        from corechain.history_tables import to_arrow

        return to_arrow([found async for found in self.pages()])

    async def to_csv(self, path: str | Path) -> int:
        """As `History.to_csv`."""
        from corechain.history_files import CsvFile

        return await self._written(CsvFile(file_path(path), self))

    async def to_parquet(self, path: str | Path) -> int:
        """As `History.to_parquet`."""
        from corechain.history_files import ParquetFile

        return await self._written(ParquetFile(file_path(path), self))

    async def _written(self, file: "HistoryFile") -> int:
        with closing(file):
            self.go_to(await _ended(file.resumed))
            async for found in self.pages():
                await _ended(file.take, found, self.cursor)
            return await _ended(file.finish)


async def _ended(function: Callable[..., T], *arguments: Any) -> T:
    """In a thread, to its end even where the task is cancelled: else it would go on writing a file
    that is let go of, and that somebody else has by then."""
    import asyncio  # here: `History` never loads it

    # No task: the end of a loop cancels all of them.
    running = asyncio.get_running_loop().run_in_executor(None, partial(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()  # nobody asks for it any more
        raise
