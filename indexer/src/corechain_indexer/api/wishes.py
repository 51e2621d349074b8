"""What a subscriber asks for, and those who ask for the same."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from corechain.service.direct import Fields
from corechain_indexer.api.newest import Encode, Encoded
from corechain_indexer.api.subscribers import Subscriber
from corechain_indexer.errors import InvalidQuery
from corechain_indexer.store.events import Cursor

EVENTS, BATCHES = b"/v1/events", b"/v1/batches/stream"
PARAMETERS = ("since", "finality")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subscriber asks for."""

    since: Cursor | None = None
    only_final: bool = False
    is_plain: bool = False
    """No parameter: by WebSocket, a client of before there were cursors."""


def wish_of(target: bytes, headers: Fields) -> Wish:
    """Raises InvalidQuery, CursorUnknown. The cursor of `Last-Event-ID`, which a browser sends when
    it connects again, is newer than the one in the address."""
    path, _, query = target.partition(b"?")
    given: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in PARAMETERS:
            raise InvalidQuery(name, "is not a parameter of this path")
        if name in given:
            raise InvalidQuery(name, "is given more than once")
        given[name] = value
    finality = given.get("finality", "pending")
    if finality not in ("pending", "final"):
        raise InvalidQuery("finality", "is not pending or final")
    newest = dict(headers).get(b"last-event-id", b"").decode("latin-1") or given.get("since")
    since = None if newest is None else Cursor.parse(newest)
    return Wish(since, finality == "final", not given and path == BATCHES)


@dataclass(eq=False, slots=True)
class Group:
    """Subscribers that are sent the same bytes. `live`: those that have all events so far."""

    encode: Encode
    only_final: bool
    live: set[Subscriber] = field(default_factory=set)

    def frame(self, encoded: Encoded) -> bytes | None:
        """None where the event is not for them."""
        if self.only_final and encoded.event.type != "final":
            return None
        return encoded.by(self.encode)
