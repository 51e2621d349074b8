"""How a lane gets on: what waits for a block, how fast its ring turns, when it last had a batch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.batch import RING_SIZE, batch_id
from corechain.service.database import asked
from corechain_relayer.journal.batches import NUMBER_MAX, lane_queue
from corechain_relayer.journal.sql import query
from corechain_relayer.submitter.ring import PACED_BATCHES

if TYPE_CHECKING:
    from corechain.service.database import Database

UNTURNED = float("inf")


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one lane, in seconds. `waiting_s`: age of its oldest batch that is in no block. `idle_s`:
    age of its newest batch. `ring_s`: in how long its ring comes round at the pace of its newest
    batches; None where that is not known."""

    waiting_s: float = 0.0
    idle_s: float = UNTURNED
    ring_s: float | None = UNTURNED


async def progress_of(pool: "Database", lane: int) -> Progress:
    """Raises StoreUnavailable."""
    first, last = batch_id(lane, 0), batch_id(lane, NUMBER_MAX)
    row = await asked(pool.fetchrow(query("lane_progress"), lane_queue(lane), first, last))
    assert row is not None  # a row of its own, whatever there is
    pace_s = await asked(pool.fetchval(query("lane_pace"), first, last, PACED_BATCHES))
    idle_s = UNTURNED if row["idle_s"] is None else float(row["idle_s"])
    return Progress(row["waiting_s"] or 0.0, idle_s, ring_s_of(pace_s, row["batches"] or 0))


def ring_s_of(pace_s: float | None, batches: int) -> float | None:
    """`pace_s`: seconds of PACED_BATCHES batches. A lane with fewer has never used a slot twice."""
    if pace_s is not None:
        return pace_s / PACED_BATCHES * RING_SIZE
    return UNTURNED if batches <= PACED_BATCHES else None
