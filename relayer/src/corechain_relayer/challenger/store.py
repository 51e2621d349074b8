"""What the challenger sends, in the journal: intents of the queue `challenger`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain_relayer.journal.sql import query
from corechain_relayer.submitter.plan import State

if TYPE_CHECKING:
    from corechain.service.database import Database

QUEUE, VETOES = "challenger", "vetoes"
OPEN = (State.QUEUED, State.PENDING)
DONE = (State.CONFIRMED, State.FINAL)
MOST_TRIES = 20
"""Of one and the same call: what the contract would take, and no block ever has, needs a person."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The intents of one purpose, oldest first."""

    states: Sequence[State] = ()

    @property
    def is_open(self) -> bool:
        return any(state in OPEN for state in self.states)

    @property
    def is_done(self) -> bool:
        return any(state in DONE for state in self.states)


NOTHING_SENT = Sent()


@dataclass(frozen=True, slots=True)
class ChallengerStore:
    """Of one queue. Raises StoreUnavailable."""

    pool: "Database"
    queue: str = QUEUE

    async def sent(self) -> dict[str, Sent]:
        """By purpose: what comes before the number in a key."""
        found = defaultdict[str, list[State]](list)
        for row in await asked(self.pool.fetch(query("intents_of"), self.queue)):
            found[row["key"].rpartition(":")[0]].append(State(row["state"]))
        return {purpose: Sent(states) for purpose, states in found.items()}

    async def record(self, purpose: str, before: Sent, target: bytes, call: bytes) -> bool:
        """True when there is a new intent: not while one of its purpose is on its way."""
        if before.is_open or len(before.states) >= MOST_TRIES:
            return False
        fields = (self.queue, f"{purpose}:{len(before.states) + 1}", target, call)
        done = await asked(self.pool.execute(query("insert_intent"), *fields))
        return bool(done == "INSERT 0 1")
