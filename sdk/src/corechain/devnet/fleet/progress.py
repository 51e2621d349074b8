"""How far a long command is, on the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass(frozen=True, slots=True)
class Bar:
    """A line that shows how much of a total is done. Silent where standard error is a file."""

    progress: "Progress"
    task: "TaskID"

    def advance(self, done: int) -> None:
        """So much more."""
        self.progress.advance(self.task, done)

    def show(self, done: int, words: str) -> None:
        """So much in all."""
        self.progress.update(self.task, completed=done, words=words)


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("·"),
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}"),
    )
    # Standard output is for results.
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress, progress.add_task(label, total=total, words=""))
