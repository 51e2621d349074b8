"""Lists that say where they go on. Pure."""

from collections.abc import Iterable
from typing import TypeVar

from corechain.protocol.errors import InvalidValue
from corechain.protocol.values import one_of

T = TypeVar("T")


class Page(list[T]):
    """Up to `limit` items of a list of the API. `next_cursor`: what gives those behind the last one
    as `cursor=`; None where there are no more, now."""

    def __init__(self, items: Iterable[T] = (), next_cursor: str | None = None) -> None:
        super().__init__(items)
        self.next_cursor = next_cursor


def cursor_text(cursor: object) -> str | None:
    """Raises InvalidValue."""
    if cursor is None:
        return None
    text = str(one_of("cursor", cursor, str, "takes the next_cursor of a list"))
    if not text or not text.isascii() or not text.isprintable():
        raise InvalidValue("cursor", cursor, "takes the next_cursor of a list")
    return text
