"""Header fields that choose an answer (RFC 9110): lists in several lines, weights, entity tags."""

import re
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import Response

NOT_MODIFIED = 304
ANY = "*"
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r'[ \t]*(?:(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|$)')
# RFC 9110, section 15.4.5, less what we never send.
_KEPT_BY_304 = ("etag", "cache-control", "vary")


def combined(headers: Headers, name: str) -> str | None:
    """A list field: all its lines as one (section 5.3). None where there is none."""
    lines = headers.getlist(name)
    return ", ".join(lines) if lines else None


def weights(field: str) -> Mapping[str, float]:
    """Weight (section 12.4.2) by what is accepted, in lower case; of what is named twice the first.
    An element whose weight is malformed says nothing."""
    found: dict[str, float] = {}
    for element in field.split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        quality = next((p for p in parameters if p[:2].lower() == "q="), "q=1")
        match = _QUALITY.fullmatch(quality)
        if name and match:
            found.setdefault(name.lower(), float(match[1]))
    return found


def media_weight(media_type: str, wanted: Mapping[str, float]) -> float:
    """Of the most specific range that matches (section 12.5.1: a type before its kind, before
    all)."""
    kind = media_type.partition("/")[0]
    for media_range in (media_type, f"{kind}/*", "*/*"):
        if media_range in wanted:
            return wanted[media_range]
    return 0.0


def holds_any(if_none_match: str) -> bool:
    """`If-None-Match: *`: whatever there is, the client wants none of it."""
    return if_none_match.strip(" \t") == ANY


def holds(if_none_match: str, tag: str) -> bool:
    """Whether a tag is in a list of them, by the weak comparison (section 13.1.2). A list that is
    malformed holds nothing: to answer in full is never wrong."""
    place, found = 0, False
    opaque = tag.removeprefix("W/")[1:-1]
    while place < len(if_none_match):
        match = _TAG.match(if_none_match, place)
        if match is None:
            return False
        found = found or match[1] == opaque
        place = match.end()
    return found


def unless_held(headers: Headers, response: Response) -> Response:
    """A successful response to GET or HEAD, or 304 in its place: when the request holds its ETag,
    or says `*`."""
    held, tag = combined(headers, "if-none-match"), response.headers.get("etag")
    if held is None or not (holds_any(held) or (tag is not None and holds(held, tag))):
        return response
    kept = {name: response.headers[name] for name in _KEPT_BY_304 if name in response.headers}
    return Response(status_code=NOT_MODIFIED, headers=kept)
