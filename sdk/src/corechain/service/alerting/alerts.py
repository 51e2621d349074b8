"""What is wrong now becomes messages: once when it has lasted long enough, once when it is over.

All of it is in Postgres, in the transaction that adds the messages, so that neither a restart nor a
crash says anything twice or never.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from corechain.service.alerting.book import AlertBook, Condition
from corechain.service.database import outages

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

log = structlog.get_logger(__name__)

FIRED, RESOLVED = "fired", "resolved"
MOST_OPEN = 100
"""Alerts of a kind at a time: a gateway that is away must not send fifty thousand messages."""


def condition(kind: str, key: str, summary: str, /, **details: object) -> Condition:
    """`details` may have a `kind` of their own: the first three go by place."""
    return Condition(
        kind=kind, key=key, summary=summary, details=msgspec.json.encode(details).decode()
    )


@dataclass(slots=True)
class Look:
    """What the rules have seen. `judged`: kinds, with the keys that were looked at, or None for
    all; an alert that was not looked at is neither begun nor over. `outcomes`: by kind and key, how
    it ended, where there is more to say than that it is over."""

    found: list[Condition] = field(default_factory=list)
    judged: dict[str, set[str] | None] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, kinds: Sequence[str], found: Sequence[Condition]) -> None:
        self.judged |= dict.fromkeys(kinds)
        self.found += found

    def is_over(self, alert: "Record") -> bool:
        kind, key = alert["kind"], alert["key"]
        if kind not in self.judged:
            return False
        keys = self.judged[kind]
        if keys is not None and key not in keys:
            return False
        return all((item.kind, item.key) != (kind, key) for item in self.found)


class Rules(Protocol):
    """What a service watches. `source`: its name in messages. `prefix`: how the keys of its alerts
    begin, where several watchers share the tables."""

    @property
    def source(self) -> str: ...

    @property
    def prefix(self) -> str: ...

    @property
    def clock(self) -> Callable[[], float]: ...

    async def look(self, known: Mapping[str, set[str]]) -> Look:
        """`known`: keys of the open alerts by their kind."""

    def after_s(self) -> Mapping[str, float]:
        """How long each kind has to last before it fires."""


@dataclass(slots=True)
class Alerts:
    """One session of the alerts: the only one that fires any."""

    connection: "Conn"
    rules: Rules
    targets: Sequence[bytes]
    chain_id: int
    count: Callable[[str, str], None]
    """Is called with the kind of an alert and what became of it."""
    older_s: float = 0.0
    """How old a message to a receiver that we do not know has to be before it is forgotten."""
    _has_begun: bool = False

    async def step(self) -> bool:
        """True when anything fired or was resolved. Raises StoreUnavailable."""
        book = AlertBook(self.connection, self.rules.prefix)
        if not self._has_begun:
            await book.keep_only(self.targets, self.older_s)
            self._has_begun = True
        open_ = await book.open()
        known: dict[str, set[str]] = {}
        for row in open_:
            known.setdefault(row["kind"], set()).add(row["key"])
        look = await self.rules.look(known)
        over = [row["id"] for row in open_ if look.is_over(row)]
        return await self._change(book, look, self._begun(look, known), over)

    def _begun(self, look: Look, known: Mapping[str, set[str]]) -> list[Condition]:
        room = {kind: MOST_OPEN - len(known.get(kind, ())) for kind in look.judged}
        begun = []
        for item in look.found:
            if item.key not in known.get(item.kind, ()) and room[item.kind] > 0:
                room[item.kind] -= 1
                begun.append(item)
        return begun

    async def _change(
        self, book: AlertBook, look: Look, begun: Sequence[Condition], over: Sequence[int]
    ) -> bool:
        with outages():
            async with self.connection.transaction():
                fired, resolved = await book.change(begun, over, self.rules.after_s())
                said = [(FIRED, row) for row in fired] + [(RESOLVED, row) for row in resolved]
                bodies = [self._body(what, row, look) for what, row in said]
                for target in self.targets:
                    await book.add(target, bodies)
        for what, row in said:
            self.count(row["kind"], what)
            emit = log.warning if what == FIRED else log.info  # a cure is nothing to wake up for
            emit(f"alert {what}", kind=row["kind"], summary=row["summary"])
        return bool(said)

    def _body(self, what: str, row: "Record", look: Look) -> bytes:
        document: dict[str, Any] = {
            "type": what,
            "source": self.rules.source,
            "id": row["id"],
            "alert": row["kind"],
            "key": row["key"],
            "summary": row["summary"] if what == FIRED else f"{RESOLVED}: {row['summary']}",
            "since": row["since"],
            "at": int(self.rules.clock()),
            "chain_id": self.chain_id,
            "details": msgspec.Raw(row["details"].encode()),
        }
        outcome = look.outcomes.get((row["kind"], row["key"]))
        if what == RESOLVED and outcome is not None:
            document["outcome"] = outcome
        return msgspec.json.encode(document)
