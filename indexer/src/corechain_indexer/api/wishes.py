"""What a subscriber asks for, and those who ask for the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from urllib.parse import parse_qsl

from corechain.service.direct import Fields
from corechain.service.fields import media_weight, weights
from corechain_indexer.api.newest import Encode, Encoded
from corechain_indexer.api.params import address, cell_of, metric_of
from corechain_indexer.api.subscribers import Subscriber
from corechain_indexer.errors import InvalidQuery, NotAcceptable
from corechain_indexer.store.contents import MAX_KEYS, Contents, Filter
from corechain_indexer.store.events import Cursor

EVENTS, BATCHES = b"/v1/events", b"/v1/batches/stream"
STREAMS = frozenset((EVENTS, BATCHES))
EVENT_STREAM = "text/event-stream"
PARAMETERS = ("since", "finality", "device", "metric", "cell")
# `final` is the type of the events; `finalised` is the word of every other path for the same.
FINAL = frozenset({"final", "finalised"})
ALL = Filter()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subscriber asks for."""

    since: Cursor | None = None
    only_final: bool = False
    filter: Filter = ALL
    is_plain: bool = False
    """No parameter: by WebSocket, a client of before there were cursors."""


def require_accepted(path: bytes, headers: Fields) -> None:
    """Raises NotAcceptable for who does not take Server-Sent Events (RFC 9110, section 12.5.1)."""
    accept = ", ".join(value.decode("latin-1") for name, value in headers if name == b"accept")
    wanted = weights(accept)
    if path == BATCHES:
        # Its name is that of a batch by its looks: nobody gets an endless answer there unasked.
        if wanted.get(EVENT_STREAM, 0.0) <= 0:
            why = "by GET a stream without end, for those whose header Accept names it"
            raise NotAcceptable([EVENT_STREAM], why)
    elif accept.strip() and media_weight(EVENT_STREAM, wanted) <= 0:
        raise NotAcceptable([EVENT_STREAM])


def wish_of(target: bytes, headers: Fields) -> Wish:
    """Raises InvalidQuery, UnknownMetric, CursorUnknown. The cursor of `Last-Event-ID`, which a
    browser sends when it connects again, is newer than the one in the address."""
    path, _, query = target.partition(b"?")
    given: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in PARAMETERS:
            raise InvalidQuery(name, "is not a parameter of this path")
        if name in given:
            raise InvalidQuery(name, "is given more than once")
        given[name] = value
    finality = given.get("finality", "pending")
    if finality != "pending" and finality not in FINAL:
        raise InvalidQuery("finality", "is not pending or finalised")
    newest = dict(headers).get(b"last-event-id", b"").decode("latin-1") or given.get("since")
    since = None if newest is None else Cursor.parse(newest)
    only_final, is_plain = finality in FINAL, not given and path == BATCHES
    return Wish(since, only_final, _filter_of(given), is_plain)


def _filter_of(given: Mapping[str, str]) -> Filter:
    """Each a list with commas between."""
    names = {name: given[name].split(",") for name in ("device", "metric", "cell") if name in given}
    if prod(map(len, names.values())) > MAX_KEYS:
        words = f"with device, metric and cell has more than {MAX_KEYS} combinations"
        raise InvalidQuery(next(iter(names)), words)
    return Filter(
        frozenset(address("device", text) for text in names.get("device", ())),
        frozenset(metric_of(text).code for text in names.get("metric", ())),
        frozenset(map(cell_of, names.get("cell", ()))),
    )


Kind = tuple[Encode, bool, Filter]


@dataclass(eq=False, slots=True)
class Group:
    """Subscribers that are sent the same bytes. `live`: those that have all events so far."""

    encode: Encode
    only_final: bool
    filter: Filter = ALL
    live: set[Subscriber] = field(default_factory=set)
    size: int = 0
    """Of all its subscribers, live or not."""

    @property
    def kind(self) -> Kind:
        return self.encode, self.only_final, self.filter

    @property
    def gets_all(self) -> bool:
        return not self.only_final and not self.filter

    def frame(self, encoded: Encoded, contents: Contents) -> bytes | None:
        """None where the event is not for them."""
        if self.only_final and encoded.event.type != "final":
            return None
        if self.filter and not contents.may_concern(encoded.event, self.filter):
            return None
        return encoded.by(self.encode)
