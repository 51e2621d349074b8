"""What long work says of itself while the loop that does it asks nothing of its own session."""

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
HEARD_BY: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("heard_by", default=())
"""Who takes it for a sign of life: the sessions (`lock_keeping.kept`) of the task, and of those
that it was started by."""


def moved() -> None:
    """A part of something long is done, as a range of a search: who does it stands not still."""
    for hear in HEARD_BY.get():
        hear()


def heard(work: Callable[P, T]) -> Callable[P, T]:
    """Work for a thread of an executor, which knows nothing of the task that waits for it: what it
    says by `moved` is heard all the same."""
    return partial(copy_context().run, work)
