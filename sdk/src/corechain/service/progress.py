"""What long work says of itself while the loop that does it asks nothing of its own session."""

from collections.abc import Callable
from contextvars import ContextVar

HEARD_BY: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("heard_by", default=())
"""Who takes it for a sign of life: the sessions (`lock_keeping.kept`) of the task, and of those
that it was started by."""


def moved() -> None:
    """A part of something long is done, as a range of a search: who does it stands not still."""
    for hear in HEARD_BY.get():
        hear()
