"""Documents and lists of the query API, and where a list goes on. Without I/O."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from corechain.documents import PageJson, WrongAnswer, object_of, parse
from corechain.protocol.errors import InvalidValue
from corechain.protocol.values import U32_MAX, U48_MAX, one_of, whole
from corechain.steps import Flow, Request

API = "api"
PAGE = 1000
"""The most items that the API gives at once."""
T = TypeVar("T")
Row = dict[str, Any]


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


def document(path: str, **params: str | int | None) -> Flow[Row]:
    """Any document of the query API, as it stands. Raises MalformedAnswer when it is no object."""
    given = {name: value for name, value in params.items() if value is not None}
    answer = yield Request(API, "GET", path, given)
    return object_of(answer, f"an answer to {path}")


def limit_of(limit: object) -> int:
    return whole("limit", limit, 1, U32_MAX)


def batch_path(batch_id: object) -> str:
    return f"/v1/batches/{whole('batch_id', batch_id, 1, U48_MAX)}"


def page_params(
    params: Mapping[str, str | int], limit: int, cursor: str | None
) -> dict[str, str | int]:
    page = {**params, "limit": limit}
    return page if cursor is None else page | {"cursor": cursor}


def pages(
    path: str,
    params: Mapping[str, str | int],
    limit: int,
    cursor: str | None = None,
    *,
    has_empty_pages: bool = False,
) -> Flow[Page[Row]]:
    """Up to `limit` items of a list behind a cursor, page by page. Raises MalformedAnswer,
    WrongAnswer.

    An empty page of a list that may have such is where it stops for now: a server that goes on
    like that for ever would be followed for ever.
    """
    limit, cursor = limit_of(limit), cursor_text(cursor)
    found: list[Row] = []
    while len(found) < limit:
        wanted = min(PAGE, limit - len(found))
        answer = yield Request(API, "GET", path, page_params(params, wanted, cursor))
        page = parse(answer, PageJson, f"a page of {path}")
        cursor = page.next_cursor
        is_odd = cursor is not None and not page.items and not has_empty_pages
        if len(page.items) > wanted or is_odd:
            raise WrongAnswer(f"{len(page.items)} items of {path} where {wanted} were asked for")
        found.extend(page.items)
        if cursor is None or not page.items:
            break
    return Page(found, cursor)
