"""Which form an answer takes: `?format=`, or the header Accept (RFC 9110, section 12.5.1). Pure."""

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache

from corechain.service.fields import media_weight, weights
from corechain_indexer.errors import InvalidQuery, NotAcceptable

MAX_ACCEPT_CHARS = 1_024


class Format(Enum):
    """The value is what `?format=` takes."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPES.get(self, self.media_type)


_MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
}
# RFC 7111: a header line is there.
_CONTENT_TYPES = {Format.CSV: "text/csv; charset=utf-8; header=present"}
ONLY_JSON = (Format.JSON,)
ALL_FORMATS = tuple(Format)


def chosen(named: str | None, accept: str | None, offered: Sequence[Format]) -> Format:
    """The form of an answer; what the query names goes before what the header accepts.

    Raises InvalidQuery for a name that is none, NotAcceptable.
    """
    if named is not None:
        return _named(named, offered)
    if accept is None or not accept.strip():
        return offered[0]
    return _by_accept(accept[:MAX_ACCEPT_CHARS], tuple(offered))


# Clients of one kind all say the same: `Accept: */*` took 13 us of each answer.
@lru_cache(maxsize=512)
def _by_accept(accept: str, offered: tuple[Format, ...]) -> Format:
    """Raises NotAcceptable, which is not kept."""
    wanted = weights(accept)
    # The first of equals: our own order is a preference, JSON before all.
    best = max(offered, key=lambda candidate: media_weight(candidate.media_type, wanted))
    if media_weight(best.media_type, wanted) <= 0:
        raise NotAcceptable([candidate.media_type for candidate in offered])
    return best


def _named(name: str, offered: Sequence[Format]) -> Format:
    if name not in [candidate.value for candidate in Format]:
        raise InvalidQuery("format", f"is not one of {', '.join(f.value for f in Format)}")
    if Format(name) not in offered:
        raise NotAcceptable([candidate.media_type for candidate in offered])
    return Format(name)
