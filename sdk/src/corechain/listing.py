"""Documents and lists of the query API, and where a list goes on. Without I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from corechain.documents import PageJson, WrongAnswer, object_of, parse
from corechain.insisting import page_of_many
from corechain.protocol.errors import InvalidValue
from corechain.protocol.values import U32_MAX, U48_MAX, one_of, whole
from corechain.steps import Flow, Request

API, GATEWAY = "api", "gateway"
"""Which service a request goes to."""
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


@dataclass(slots=True)
class Order:
    """By what a list of the API ascends; `last` is the place of the item before."""

    name: str
    last: int | str

    def check(self, items: list[Row]) -> None:
        """Raises MalformedAnswer, WrongAnswer."""
        for item in items:
            place: Any = parse(item.get(self.name), type(self.last), f"an item's {self.name}")
            if place <= self.last:
                raise WrongAnswer(f"{self.name} {place} does not come behind {self.last}")
            self.last = place


def pages(
    path: str,
    params: Mapping[str, str | int],
    limit: int,
    cursor: str | None = None,
    *,
    order: "Order | None" = None,
    has_empty_pages: bool = False,
) -> Flow[Page[Row]]:
    """Up to `limit` items of a list behind a cursor, page by page, each behind the one before by
    `order` (None: of a list that has another): a list that leads back to itself would give items
    again without end. Raises MalformedAnswer, WrongAnswer.

    An empty page of a list that may have such is where it stops for now: a server that goes on
    like that for ever would be followed for ever.
    """
    limit, cursor = limit_of(limit), cursor_text(cursor)
    found: list[Row] = []
    while len(found) < limit:
        wanted = min(PAGE, limit - len(found))
        asked = Request(API, "GET", path, page_params(params, wanted, cursor))
        answer = yield from page_of_many(asked)
        page = parse(answer, PageJson, f"a page of {path}")
        if page.next_cursor is not None and page.next_cursor == cursor:
            raise WrongAnswer(f"a page of {path} that leads to itself")
        cursor = page.next_cursor
        is_odd = cursor is not None and not page.items and not has_empty_pages
        if len(page.items) > wanted or is_odd:
            raise WrongAnswer(f"{len(page.items)} items of {path} where {wanted} were asked for")
        if order is not None:
            order.check(page.items)
        found.extend(page.items)
        if cursor is None or not page.items:
            break
    return Page(found, cursor)
