"""Alerts: what an operator wants to know without asking, above all that something did *not* happen.

A rule says what is wrong now. What lasts longer than the rule's patience fires, once; what is over
is told once more. All of it is in Postgres, in the transaction that adds the messages, so that
neither a restart nor a crash tells anything twice or never.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from corechain.service.database import outages
from corechain.service.errors import NodeUnavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.alerts import AlertBook, Condition, Facts
from corechain_indexer.store.latest import newest_in
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.vouchers import Vouchers

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn, Database
    from corechain.service.rpc import Block

log = structlog.get_logger(__name__)

FIRED, RESOLVED = "fired", "resolved"
MOST_OPEN = 100
"""Alerts of a kind at a time: a gateway that is away must not send fifty thousand messages."""
DEVICES_AT_ONCE = 1_000
"""Devices whose newest reading is looked for at a time, 0.1 s of Postgres: fifty thousand are gone
through in eight minutes, where a look is taken every ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a rule speaks; 0 turns it off. Seconds and blocks."""

    silent_s: int
    unverified_s: int
    lag_blocks: int
    node_away_s: int
    reorg_blocks: int
    deadline_s: int
    parties: Sequence[bytes]
    """Whose state channels matter; none: everybody's."""

    def after_s(self) -> Mapping[str, float]:
        """How long each kind has to last before it fires."""
        unverified = float(self.unverified_s)
        return {
            "silent_device": 0.0,
            "withheld": unverified,
            "pending": unverified,
            "mismatch": 0.0,
            "lag": unverified,
            "node_away": float(self.node_away_s),
            "reorg": 0.0,
            "channel_challenged": 0.0,
            "withdrawal": 0.0,
            "wrong_root": 0.0,
        }


def condition(kind: str, key: str, summary: str, **details: object) -> Condition:
    return Condition(
        kind=kind, key=key, summary=summary, details=msgspec.json.encode(details).decode()
    )


@dataclass(slots=True)
class Look:
    """What the rules have seen. `judged`: kinds, with the keys that were looked at, or None for
    all; an alert that was not looked at is neither begun nor over."""

    found: list[Condition] = field(default_factory=list)
    judged: dict[str, set[str] | None] = field(default_factory=dict)

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


class Head(Protocol):
    """Who knows the node's newest block."""

    async def head(self) -> "Block": ...


@dataclass(slots=True)
class Rules:
    """Looks at the index and the node. Raises StoreUnavailable."""

    pool: "Database"
    node: Head
    limits: Limits
    clock: Callable[[], float] = time.time
    _after: bytes = b""
    """The device before the next ones."""

    async def look(self, known: Mapping[str, set[str]]) -> Look:
        """`known`: keys of the open alerts by their kind."""
        look = Look()
        head = await self._head(look)
        await self._batches(look, known)
        await self._silence(look, known)
        await self._chain(look, head)
        if head is not None:
            await self._deadlines(look, head.timestamp)
        return look

    async def _head(self, look: Look) -> "Block | None":
        try:
            head = await self.node.head()
        except NodeUnavailable as error:
            look.add(["node_away"], [condition("node_away", "node", f"no node: {error}")])
            return None
        look.add(["node_away"], [])
        return head

    async def _batches(self, look: Look, known: Mapping[str, set[str]]) -> None:
        kinds = ("withheld", "pending", "mismatch")
        ids = [int(key) for kind in kinds for key in known.get(kind, ())]
        rows = await Facts(self.pool).unverified(MOST_OPEN, ids)
        look.add(kinds, [_unverified(row) for row in rows])

    async def _silence(self, look: Look, known: Mapping[str, set[str]]) -> None:
        """Of some devices, and of those that are known to be silent."""
        if not self.limits.silent_s:
            look.add(["silent_device"], [])
            return
        page = await Reads(self.pool).devices(self._after, DEVICES_AT_ONCE)
        self._after = page[-1]["device"] if len(page) == DEVICES_AT_ONCE else b""
        devices = {row["device"] for row in page if not row["revoked"]}
        gone = {row["device"] for row in page if row["revoked"]}
        devices |= {bytes.fromhex(key[2:]) for key in known.get("silent_device", ())} - gone
        newest = await newest_in(self.pool, sorted(devices))
        keys = {"0x" + device.hex() for device in devices | gone}
        look.judged["silent_device"] = keys
        for device, values in newest.items():
            last = max((value.observed_at for value in values), default=None)
            # One that never sent anything may not be set up yet: there is nothing to be late for.
            if last is not None and self.clock() - last > self.limits.silent_s:
                look.found.append(_silent(device, last))

    async def _chain(self, look: Look, head: "Block | None") -> None:
        facts, indexed = Facts(self.pool), (await Reads(self.pool).marks()).indexed
        deep = await facts.rollbacks(self.limits.reorg_blocks) if self.limits.reorg_blocks else ()
        look.add(["reorg"], [_reorg(row) for row in deep])
        look.add(["wrong_root"], [_wrong_root(row) for row in await facts.wrong_roots()])
        if head is None:
            return
        behind = head.number - indexed
        is_behind = 0 < self.limits.lag_blocks <= behind
        summary = f"the mirror is {behind} blocks behind: at {indexed}, the node at {head.number}"
        details = {"indexed": indexed, "head": head.number}
        look.add(["lag"], [condition("lag", "mirror", summary, **details)] if is_behind else [])

    async def _deadlines(self, look: Look, now: int) -> None:
        """By the chain's clock: so do the contracts."""
        until, parties = now + self.limits.deadline_s, self.limits.parties or None
        rows = await Facts(self.pool).challenges(now, until, parties)
        look.add(["channel_challenged"], [_challenged(row, now) for row in rows])
        due = [
            row for row in await Vouchers(self.pool).endangered() if row["finalize_after"] <= until
        ]
        look.add(["withdrawal"], [_withdrawal(row, now) for row in due])


def _unverified(row: "Record") -> Condition:
    number, state = row["batch_id"], row["state"]
    reason = f": {row['reason']}" if row["reason"] else ""
    return condition(
        state,
        str(number),
        f"batch {number} is {state}{reason}",
        batch_id=number,
        reason=row["reason"],
    )


def _silent(device: bytes, last: int) -> Condition:
    text = "0x" + device.hex()
    summary = f"device {text} has sent nothing since {last}"
    return condition("silent_device", text, summary, device=text, observed_at=last)


def _reorg(row: "Record") -> Condition:
    blocks = row["from_block"] - row["to_block"]
    summary = f"a reorg took {blocks} blocks back, to block {row['to_block']}"
    return condition("reorg", str(row["id"]), summary, blocks=blocks, to_block=row["to_block"])


def _wrong_root(row: "Record") -> Condition:
    epoch, active_at = row["epoch"], row["active_at"]
    summary = (
        f"the reward root of epoch {epoch} does not come out; it is active from {active_at} on"
    )
    return condition("wrong_root", str(epoch), summary, epoch=epoch, active_at=active_at)


def _challenged(row: "Record", now: int) -> Condition:
    channel, left_s = "0x" + row["channel_id"].hex(), row["deadline"] - now
    version = row["version"]
    summary = f"state channel {channel} is challenged with version {version}: {left_s} s left"
    parties = ["0x" + row[name].hex() for name in ("party_a", "party_b")]
    details = {"deadline": row["deadline"], "version": version, "parties": parties}
    key = f"{channel}:{version}"
    return condition("channel_challenged", key, summary, channel=channel, **details)


def _withdrawal(row: "Record", now: int) -> Condition:
    channel, left_s = "0x" + row["channel_id"].hex(), row["finalize_after"] - now
    owed = row["amount"]
    summary = f"the payer of channel {channel} withdraws {owed} that it owes: {left_s} s left"
    details = {"amount": str(owed), "deadline": row["finalize_after"]}
    return condition("withdrawal", channel, summary, channel=channel, **details)


def target_of(url: str) -> bytes:
    """What a receiver is known by in the database, which must not hold its token."""
    return sha256(url.encode()).digest()[:16]


@dataclass(slots=True)
class Alerts:
    """One session of the alerts: the only one that fires any."""

    connection: "Conn"
    rules: Rules
    targets: Sequence[bytes]
    chain_id: int
    metrics: Metrics
    _has_begun: bool = False

    async def step(self) -> bool:
        """True when anything fired or was resolved. Raises StoreUnavailable."""
        book = AlertBook(self.connection)
        if not self._has_begun:
            await book.keep_only(self.targets)
            self._has_begun = True
        open_ = await book.open()
        known: dict[str, set[str]] = {}
        for row in open_:
            known.setdefault(row["kind"], set()).add(row["key"])
        look = await self.rules.look(known)
        over = [row["id"] for row in open_ if look.is_over(row)]
        return await self._change(book, self._begun(look, known), over)

    def _begun(self, look: Look, known: Mapping[str, set[str]]) -> list[Condition]:
        room = {kind: MOST_OPEN - len(known.get(kind, ())) for kind in look.judged}
        begun = []
        for item in look.found:
            if item.key not in known.get(item.kind, ()) and room[item.kind] > 0:
                room[item.kind] -= 1
                begun.append(item)
        return begun

    async def _change(
        self, book: AlertBook, begun: Sequence[Condition], over: Sequence[int]
    ) -> bool:
        with outages():
            async with self.connection.transaction():
                after_s = self.rules.limits.after_s()
                fired, resolved = await book.change(begun, over, after_s)
                said = [(FIRED, row) for row in fired] + [(RESOLVED, row) for row in resolved]
                bodies = [self._body(what, row) for what, row in said]
                for target in self.targets:
                    await book.add(target, bodies)
        for what, row in said:
            self.metrics.alerts.labels(row["kind"], what).inc()
            emit = log.warning if what == FIRED else log.info  # a cure is nothing to wake up for
            emit(f"alert {what}", kind=row["kind"], summary=row["summary"])
        return bool(said)

    def _body(self, what: str, row: "Record") -> bytes:
        document: dict[str, Any] = {
            "type": what,
            "id": row["id"],
            "alert": row["kind"],
            "key": row["key"],
            "summary": row["summary"] if what == FIRED else f"{RESOLVED}: {row['summary']}",
            "since": row["since"],
            "at": int(self.rules.clock()),
            "chain_id": self.chain_id,
            "details": msgspec.Raw(row["details"].encode()),
        }
        return msgspec.json.encode(document)
