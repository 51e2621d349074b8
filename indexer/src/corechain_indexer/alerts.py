"""The rules of the index's alerts: what is wrong now, above all that something did *not* happen."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from corechain.service.alerting.alerts import MOST_OPEN, Look, condition
from corechain.service.alerting.book import Condition
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain_indexer.store.alerts import Facts
from corechain_indexer.store.latest import newest_in
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.vouchers import Vouchers

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database
    from corechain.service.rpc import Block

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
    source: str = "indexer"
    prefix: str = ""
    _after: bytes = b""
    """The device before the next ones."""

    def after_s(self) -> Mapping[str, float]:
        return self.limits.after_s()

    async def look(self, known: Mapping[str, set[str]]) -> Look:
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
        except (NodeUnavailable, NodeRefused) as error:
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
