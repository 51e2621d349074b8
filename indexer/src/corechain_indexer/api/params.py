"""Query parameters, checked once at the border; cursors are opaque to the caller."""

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from corechain.protocol.cells import is_cell
from corechain.protocol.errors import InvalidValue
from corechain.protocol.places import RESOLUTION
from corechain.protocol.ranges import KeyRange
from corechain.protocol.regions import FINEST, keys_of, spans_of
from corechain.protocol.vocabulary import BY_CODE, Metric, metric
from corechain_indexer.errors import InvalidQuery

MAX_LIMIT, DEFAULT_LIMIT = 1_000, 100
MAX_TIME = 2**40 - 1
MAX_BATCH_ID = 2**48 - 1
MINUTE_S, HOUR_S = 60, 3600
FINE_SPAN_S = 7 * 86_400
"""Buckets that are not whole hours cut most segments in two, and what is cut is read leaf by leaf:
a week of a reading a minute is 10,080 leaves, 0.4 MB."""
FRESH = ("min_block", "after_tx")
"""Taken by every path: what must have been mirrored before it answers."""
FORMAT = "format"
"""Taken by every path: the form of the answer."""
BOUNDS = ("finality", "as_of")
"""Up to which block what is shown is."""
BATCHES = ("first_batch", "last_batch")
"""Between which batches, both of one lane and included, what is shown is."""
MAX_BLOCK = 2**53 - 1
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_CHANNEL = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_CELL = re.compile(r"[0-9a-f]{15,16}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)


def values_of(query: bytes) -> dict[str, list[str]]:
    """Of a query string, as Starlette reads it: `application/x-www-form-urlencoded`."""
    text, found = query.decode("latin-1"), dict[str, list[str]]()
    if b"%" in query or b"+" in query:
        pairs = parse_qsl(text, keep_blank_values=True)
    else:  # nothing to be decoded, as with what we take: a fifth of the time
        pairs = [piece.partition("=")[::2] for piece in text.split("&") if piece]
    for name, value in pairs:
        if name in found:
            found[name].append(value)
        else:
            found[name] = [value]
    return found


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of one request. Every method raises InvalidQuery."""

    request: Request
    replaced: Mapping[str, str] = field(default_factory=dict)
    """What counts instead of what the query says, or does not say."""
    values: Mapping[str, Sequence[str]] = field(init=False)
    """What the query says, by name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", values_of(self.request.scope["query_string"]))

    def has(self, name: str) -> bool:
        return name in self.values

    def has_any(self, names: Collection[str]) -> bool:
        return not self.values.keys().isdisjoint(names)

    def going_on(self, more: Mapping[str, str]) -> "Params":
        """The same question from another place on."""
        return replace(self, replaced={**self.replaced, **more})

    def only(self, *names: str) -> None:
        """Refuses what the path does not know: a misspelt filter must not answer for everything."""
        for name in self.values:
            if name not in names and name not in FRESH and name != FORMAT:
                raise InvalidQuery(name, "is not a parameter of this path")

    def text(self, name: str) -> str | None:
        """As it came, decoded."""
        if name in self.replaced:
            return self.replaced[name]
        values = self.values.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise InvalidQuery(name, "is given more than once")
        return values[0]

    def number(self, name: str, default: int, low: int, high: int) -> int:
        text = self.text(name)
        if text is None:
            return default
        return in_range(name, text, low, high)

    def form(self) -> str | None:
        return self.text(FORMAT)

    def limit(self) -> int:
        return self.number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)

    def window(self) -> tuple[int, int]:
        """[from, to] in seconds."""
        start = self.number("from", 0, 0, MAX_TIME)
        end = self.number("to", MAX_TIME, 0, MAX_TIME)
        if start > end:
            raise InvalidQuery("from", "is after to")
        return start, end

    def batches(self) -> tuple[int, int] | None:
        """The first and the last batch that an answer is to be of, both of one lane."""
        if not self.has("first_batch") and not self.has("last_batch"):
            return None
        first = self.number("first_batch", 0, 0, MAX_BATCH_ID)
        last = self.number("last_batch", 0, 0, MAX_BATCH_ID)
        if first == 0 or last < first or first >> 32 != last >> 32:
            raise InvalidQuery("last_batch", "and first_batch: two ids of a lane, in order")
        return first, last

    def device(self) -> bytes | None:
        text = self.text("device")
        return None if text is None else address("device", text)

    def payer(self) -> bytes | None:
        text = self.text("payer")
        return None if text is None else address("payer", text)

    def party(self) -> bytes | None:
        text = self.text("party")
        return None if text is None else address("party", text)

    def cell(self) -> int | None:
        text = self.text("cell")
        return None if text is None else cell_of(text)

    def region(self, metric: Metric) -> Sequence[KeyRange]:
        """The ranges of a metric's readings at the cells of one resolution in some coarser ones."""
        try:
            spans = spans_of(self.cells(), self.resolution())
        except InvalidValue as error:
            raise InvalidQuery("cell", str(error)) from error
        return [keys_of(metric.code, span) for span in spans]

    def cells(self) -> list[int]:
        """One or several, with commas between."""
        texts = (self.text("cell") or "").split(",")
        if not all(_CELL.fullmatch(text) and is_cell(int(text, 16)) for text in texts):
            raise InvalidQuery("cell", "is not H3 cells in hexadecimal digits, with commas between")
        return [int(text, 16) for text in texts]

    def resolution(self) -> int:
        return self.number("resolution", RESOLUTION, 0, FINEST)

    def newest_first(self) -> bool:
        text = self.text("order")
        if text not in (None, "oldest", "newest"):
            raise InvalidQuery("order", "is not oldest or newest")
        return text == "newest"

    def history_cursor(self) -> str | None:
        return self.text("cursor")

    def metric(self) -> Metric | None:
        """By name or code. Raises UnknownMetric too."""
        text = self.text("metric")
        return None if text is None else metric_of(text)

    def bucket(self) -> int:
        """In seconds: whole hours, or whole minutes within `FINE_SPAN_S`."""
        bucket = self.number("bucket", HOUR_S, MINUTE_S, 366 * 86_400)
        if bucket % MINUTE_S:
            raise InvalidQuery("bucket", "is not a multiple of a minute (60)")
        start, end = self.window()
        if bucket % HOUR_S and end - start > FINE_SPAN_S:
            words = "is not a multiple of an hour (3600), as `from` and `to` more than a week apart"
            raise InvalidQuery("bucket", f"{words} ask for")
        return bucket

    def flag(self, name: str) -> bool:
        text = self.text(name)
        if text not in (None, "true", "false"):
            raise InvalidQuery(name, "is not true or false")
        return text == "true"

    def state(self) -> str | None:
        text = self.text("state")
        if text not in (None, "pending", "withheld", "mismatch", "verified"):
            raise InvalidQuery("state", "is not pending, withheld, mismatch or verified")
        return text

    def finality(self) -> str:
        """What is shown is at least so sure."""
        text = self.text("finality")
        if text not in (None, "pending", "safe", "finalised"):
            raise InvalidQuery("finality", "is not pending, safe or finalised")
        return text or "pending"

    def block(self, name: str) -> int | None:
        if self.text(name) is None:
            return None
        return self.number(name, 0, 0, MAX_BLOCK)

    def after_tx(self) -> str | None:
        text = self.text("after_tx")
        if text is not None and not _CHANNEL.fullmatch(text):
            raise InvalidQuery("after_tx", "is not 0x and 64 hexadecimal digits")
        return text

    def cursor(self, first: Sequence[int | bytes]) -> list[int | bytes]:
        """Where the page before ended, or `first`."""
        text = self.text("cursor")
        return list(first) if text is None else decode_cursor(text, first)

    def cursor_bytes(self) -> bytes:
        """Of a path whose pages are ordered by bytes alone."""
        (place,) = self.cursor([b""])
        assert isinstance(place, bytes), "decoded like the model"
        return place

    def cursor_number(self, first: int) -> int:
        """Of a path whose pages are ordered by one number."""
        (place,) = self.cursor([first])
        assert isinstance(place, int), "decoded like the model"
        return place


def in_range(name: str, text: str, low: int, high: int) -> int:
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise InvalidQuery(name, f"is not a whole number from {low} to {high}")
    return int(text)


def address(name: str, text: str) -> bytes:
    if not _ADDRESS.fullmatch(text):
        raise InvalidQuery(name, "is not 0x and 40 hexadecimal digits")
    return bytes.fromhex(text[2:])


def cell_of(text: str) -> int:
    if not _CELL.fullmatch(text) or not is_cell(int(text, 16)):
        raise InvalidQuery("cell", "is not an H3 cell in 15 or 16 hexadecimal digits")
    return int(text, 16)


def metric_of(text: str) -> Metric:
    """By name or code. Raises UnknownMetric."""
    if _NUMBER.fullmatch(text) and int(text) in BY_CODE:
        return BY_CODE[int(text)]
    return metric(text)


def channel_id(text: str) -> bytes:
    if not _CHANNEL.fullmatch(text):
        raise InvalidQuery("channel id", "is not 0x and 64 hexadecimal digits")
    return bytes.fromhex(text[2:])


def encode_cursor(place: Sequence[int | bytes]) -> str:
    shown = [item.hex() if isinstance(item, bytes) else item for item in place]
    return base64.urlsafe_b64encode(msgspec.json.encode(shown)).decode()


def decode_cursor(
    text: str, first: Sequence[int | bytes], name: str = "cursor"
) -> list[int | bytes]:
    """Raises InvalidQuery for what is not like `first`."""
    try:
        raw = msgspec.json.decode(
            base64.b64decode(text, altchars=b"-_", validate=True), type=list[int | str]
        )
        place = [_like(item, model) for item, model in zip(raw, first, strict=True)]
    except (ValueError, TypeError, msgspec.DecodeError) as error:
        raise InvalidQuery(name, "is not one that this path gave") from error
    return place


def _like(item: int | str, model: int | bytes) -> int | bytes:
    if isinstance(model, bytes):
        return bytes.fromhex(str(item))
    if not isinstance(item, int) or not -(2**63) <= item < 2**63:
        raise ValueError("not a number")
    return item
