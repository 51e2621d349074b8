"""Which form an answer takes: `?format=`, or the header Accept (RFC 9110, section 12.5.1). Pure."""

import re
from collections.abc import Iterable, Sequence
from enum import Enum

from corechain_indexer.errors import InvalidQuery, NotAcceptable

MAX_ACCEPT_CHARS = 1_024
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII | re.IGNORECASE)


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
    wanted = _ranges(accept[:MAX_ACCEPT_CHARS])
    # The first of equals: our own order is a preference, JSON before all.
    best = max(offered, key=lambda candidate: _quality(candidate, wanted))
    if _quality(best, wanted) <= 0:
        raise NotAcceptable([candidate.media_type for candidate in offered])
    return best


def _named(name: str, offered: Sequence[Format]) -> Format:
    if name not in [candidate.value for candidate in Format]:
        raise InvalidQuery("format", f"is not one of {', '.join(f.value for f in Format)}")
    if Format(name) not in offered:
        raise NotAcceptable([candidate.media_type for candidate in offered])
    return Format(name)


def _ranges(accept: str) -> list[tuple[str, float]]:
    """(media range, quality) of each element; one with a malformed quality counts as unwanted."""
    found = []
    for element in accept.split(","):
        media_range, *parameters = (part.strip() for part in element.split(";"))
        qualities = [p for p in parameters if p.lower().startswith("q=")]
        match = _QUALITY.fullmatch(qualities[0]) if qualities else None
        quality = 1.0 if not qualities else float(match[1]) if match else 0.0
        found.append((media_range.lower(), quality))
    return found


def _quality(candidate: Format, wanted: Iterable[tuple[str, float]]) -> float:
    """Of the most specific range that matches (RFC 9110: a type before its kind, before all)."""
    kind = candidate.media_type.partition("/")[0]
    by_range = dict(reversed(list(wanted)))
    for media_range in (candidate.media_type, f"{kind}/*", "*/*"):
        if media_range in by_range:
            return by_range[media_range]
    return 0.0
