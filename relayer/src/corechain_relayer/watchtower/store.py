"""Evidence in Postgres: the newest state of each channel, never an older one again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.channel import ChannelState
from corechain.service.database import asked
from corechain_relayer.journal.sql import query
from corechain_relayer.watchtower.channels import Evidence

if TYPE_CHECKING:
    from corechain.service.database import Database

QUEUE = "watchtower"


@dataclass(frozen=True, slots=True)
class Answer:
    """An intent: calldata that must be in a block before `due_at`, seconds of chain time."""

    key: str
    call: bytes
    due_at: int


@dataclass(frozen=True, slots=True)
class EvidenceStore:
    """Raises StoreUnavailable."""

    pool: "Database"

    async def keep(self, evidence: Evidence) -> bool:
        """True when it is newer than what was held; durable when it returns."""
        done = await asked(
            self.pool.execute(
                query("store_channel_state"),
                evidence.state.channel_id,
                evidence.state.version,
                evidence.state.balance_a,
                evidence.signature_a,
                evidence.signature_b,
            )
        )
        return bool(done == "INSERT 0 1")

    async def held(self, channel_id: bytes) -> int | None:
        """The version that is held for a channel, None when none is."""
        found = await asked(self.pool.fetchval(query("channel_state_version"), channel_id))
        return None if found is None else int(found)

    async def newer_than(self, versions: Mapping[bytes, int]) -> list[Evidence]:
        """What is held for some channels, where it is newer than a version of each."""
        columns = list(versions), list(versions.values())
        rows = await asked(self.pool.fetch(query("newer_channel_states"), *columns))
        return [
            Evidence(
                ChannelState(row["channel_id"], row["version"], int(row["balance_a"])),
                row["signature_a"],
                row["signature_b"],
            )
            for row in rows
        ]

    async def want(self, target: bytes, answers: Sequence[Answer]) -> set[str]:
        """Answers that are to be on chain in time, the most urgent first. One that is on its way
        stays so, one that was given up begins again. The keys of those that are new."""
        columns = _columns(answers)
        rows = await asked(self.pool.fetch(query("want_in_time"), QUEUE, target, *columns))
        return {row["key"] for row in rows}


def _columns(answers: Iterable[Answer]) -> tuple[list[str], list[bytes], list[int]]:
    rows = [(answer.key, answer.call, answer.due_at) for answer in answers]
    keys, calls, deadlines = zip(*rows, strict=True) if rows else ((), (), ())
    return list(keys), list(calls), list(deadlines)
