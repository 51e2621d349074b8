"""Evidence in Postgres: the newest state of each channel, never an older one again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.channel import ChannelState
from corechain.service.database import asked
from corechain_relayer.journal.batches import NewIntent
from corechain_relayer.journal.sql import query
from corechain_relayer.watchtower.channels import Evidence

if TYPE_CHECKING:
    from corechain.service.database import Database


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

    async def newest(self, channel_id: bytes) -> Evidence | None:
        row = await asked(self.pool.fetchrow(query("channel_state"), channel_id))
        if row is None:
            return None
        state = ChannelState(channel_id, row["version"], int(row["balance_a"]))
        return Evidence(state, row["signature_a"], row["signature_b"])

    async def want(self, intent: NewIntent) -> bool:
        """True when the intent is a new one."""
        fields = (intent.queue, intent.key, intent.target, intent.calldata)
        done = await asked(self.pool.execute(query("insert_intent"), *fields))
        return bool(done == "INSERT 0 1")
