"""Answers in the journal: intents of the queue `guard`, one after the other for a demand."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    """An intent of the journal. `transaction` and `block` while it is in a block. `cancelled`: an
    operator wants it given up, or has; what is in a block all the same counts."""

    state: State
    transaction: bytes | None
    block: int | None
    cancelled: bool = False

    @property
    def is_given_up(self) -> bool:
        """What landed before it could be cancelled holds up no answer to a later demand."""
        return self.cancelled and self.transaction is None

    def covers(self, demand: OpenDemand, view: DemandsView) -> bool:
        """Whether it answers this very demand, as far as anybody can know yet: on its way, or in a
        block that the view has not seen. One that the view has seen, or that is older than the
        demand, was the answer to an earlier demand for the same thing."""
        if self.state in (State.QUEUED, State.PENDING):
            return not self.cancelled
        if self.transaction is None or self.block is None:
            return False
        return self.block >= demand.block and not view.was_closed_by(demand.id, self.transaction)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An answer that the contract would take: the `number`th to demands of its id."""

    demand: OpenDemand
    number: int
    call: bytes

    @property
    def key(self) -> str:
        return intent_key(self.demand.id, self.number)


@dataclass(frozen=True, slots=True)
class AnswerStore:
    """Raises StoreUnavailable."""

    pool: "Database"

    async def answers(self, demands: Iterable[OpenDemand]) -> Mapping[bytes, list[Answer]]:
        """All answers recorded for some demands, by demand id."""
        ids = [demand.id.hex() for demand in demands]
        found: dict[bytes, list[Answer]] = defaultdict(list)
        for row in await asked(self.pool.fetch(query("answers_to"), ids)):
            place = row["transaction"], row["block_number"]
            answer = Answer(State(row["state"]), *place, bool(row["cancelled"]))
            found[demand_of(row["key"])].append(answer)
        return found

    async def record(self, target: bytes, answers: Sequence[Wanted]) -> set[str]:
        """Answers that are to be on chain before the deadlines of their demands, in one statement,
        the most urgent first. The keys of those that are new: not beside another answer that a
        reorg has brought back since `answers` was asked."""
        if not answers:
            return set()
        keys = [answer.key for answer in answers]
        calls = [answer.call for answer in answers]
        deadlines = [answer.demand.deadline for answer in answers]
        rows = await asked(
            self.pool.fetch(query("want_in_time"), QUEUE, target, keys, calls, deadlines)
        )
        return {row["key"] for row in rows}
