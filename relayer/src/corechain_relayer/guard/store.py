"""Answers in the journal: intents of the queue `guard`, one after the other for a demand."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain_relayer.guard.demands import DemandsView, OpenDemand
from corechain_relayer.journal.sql import query
from corechain_relayer.submitter.plan import State

if TYPE_CHECKING:
    from corechain.service.database import Database

QUEUE = "guard"


def intent_key(demand_id: bytes, number: int) -> str:
    """`number` counts the answers to demands of this id: what was answered can be demanded again,
    and an answer that came to nothing is followed by another."""
    return f"demand:{demand_id.hex()}:{number}"


def demand_of(key: str) -> bytes:
    return bytes.fromhex(key.split(":")[1])


@dataclass(frozen=True, slots=True)
class Answer:
    """An intent of the journal. `transaction` and `block` while it is in a block."""

    state: State
    transaction: bytes | None
    block: int | None

    def covers(self, demand: OpenDemand, view: DemandsView) -> bool:
        """Whether it answers this very demand, as far as anybody can know yet: on its way, or in a
        block that the view has not seen. One that the view has seen, or that is older than the
        demand, was the answer to an earlier demand for the same thing."""
        if self.state in (State.QUEUED, State.PENDING):
            return True
        if self.transaction is None or self.block is None:
            return False
        return self.block >= demand.block and not view.was_closed_by(demand.id, self.transaction)


@dataclass(frozen=True, slots=True)
class AnswerStore:
    """Raises StoreUnavailable."""

    pool: "Database"

    async def answers(self, demands: Iterable[OpenDemand]) -> Mapping[bytes, list[Answer]]:
        """All answers recorded for some demands, by demand id."""
        ids = [demand.id.hex() for demand in demands]
        found: dict[bytes, list[Answer]] = defaultdict(list)
        for row in await asked(self.pool.fetch(query("answers_to"), ids)):
            answer = Answer(State(row["state"]), row["transaction"], row["block_number"])
            found[demand_of(row["key"])].append(answer)
        return found

    async def record(self, demand: OpenDemand, number: int, target: bytes, call: bytes) -> bool:
        """True when the answer is a new one."""
        fields = (QUEUE, intent_key(demand.id, number), target, call)
        done = await asked(self.pool.execute(query("insert_intent"), *fields))
        return bool(done == "INSERT 0 1")
