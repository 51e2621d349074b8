"""A page of single readings as an answer: JSON from the arrays of Postgres, rows where they are
looked at."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from corechain.protocol import native
from corechain.protocol.provenance import provenance_of
from corechain_indexer.api import rows, schemas
from corechain_indexer.api.params import encode_cursor
from corechain_indexer.store.page_columns import PageColumns

_native: Callable[..., bytes] | None = native.function("page_json")
_encoder = msgspec.json.Encoder()


class ReadingsPage:
    """What a `schemas.Readings` without proofs says: the first `limit` readings of a device's.

    No dataclass: msgspec would encode its fields."""

    __slots__ = ("device", "found", "limit")

    def __init__(self, device: bytes, found: PageColumns, limit: int) -> None:
        self.device, self.found, self.limit = device, found, limit

    @property
    def items(self) -> list[schemas.Reading]:
        return rows.readings(self.device, self.found[: self.limit])

    @property
    def next_cursor(self) -> str | None:
        """One reading more than the limit was asked for."""
        if len(self.found) <= self.limit:
            return None
        return encode_cursor([self.device, *self.found.place(self.limit - 1)])

    @property
    def proofs(self) -> Sequence[schemas.BatchProof]:
        return []

    def json(self) -> bytes:
        more = _encoder.encode(self.next_cursor)
        return b'{"items":' + items_json(self) + b',"next_cursor":' + more + b"}"


def items_json(page: ReadingsPage) -> bytes:
    """The list of its readings."""
    # Eighty of the hundred and twenty microseconds that a page of a hundred took were objects.
    if _native is None or not page.found:
        return _encoder.encode(page.items)
    found, count = page.found, min(page.limit, len(page.found))
    device = f'","device":"{rows.hexed(page.device)}","observed_at":'.encode()
    end = f'","provenance":"{provenance_of(page.device).value}"}}'.encode()
    return b"[" + _native(found.arrays, count, found.finality, device, end) + b"]"


def encodable(answer: Any) -> Any:
    """For msgspec's encoder: what it does not know by itself."""
    if isinstance(answer, ReadingsPage):
        return msgspec.Raw(answer.json())
    raise NotImplementedError(f"{type(answer).__name__} is no answer")
