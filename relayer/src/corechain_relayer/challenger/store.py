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
"""Of one and the same call: what the contract would take, and no block ever has, needs a person.
What was void before it was signed is none of them: a node that lags could use them all up."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The intents of one purpose, oldest first."""

    states: Sequence[State] = ()
    is_fresh: bool = False
    """The newest is void, and nothing was ever signed for it: it begins again."""

    @property
    def is_open(self) -> bool:
        return any(state in OPEN for state in self.states)

    @property
    def is_done(self) -> bool:
        return any(state in DONE for state in self.states)

    @property
    def tries(self) -> int:
        """Of those that something was signed for, or an operator cancelled."""
        return len(self.states) - self.is_fresh

    @property
    def used_up(self) -> str:
        """Why there is no more of it, for an operator; empty while there may be."""
        is_over = not self.is_open and self.tries >= MOST_TRIES
        return f"{MOST_TRIES} transactions came to nothing (`corechain tx list`)" if is_over else ""


NOTHING_SENT = Sent()


@dataclass(frozen=True, slots=True)
class ChallengerStore:
    """Of one queue. Raises StoreUnavailable."""

    pool: "Database"
    queue: str = QUEUE

    async def sent(self) -> dict[str, Sent]:
        """By purpose: what comes before the number in a key."""
        found = defaultdict[str, list[State]](list)
        fresh: dict[str, bool] = {}
        for row in await asked(self.pool.fetch(query("intents_of"), self.queue)):
            purpose = row["key"].rpartition(":")[0]
            found[purpose].append(State(row["state"]))
            fresh[purpose] = row["is_fresh"]
        return {purpose: Sent(states, fresh[purpose]) for purpose, states in found.items()}

    async def give_up(self, purpose: str, before: Sent) -> None:
        """The newest intent says for operators that no more of its purpose are sent."""
        key = f"{purpose}:{before.tries}"
        await asked(self.pool.execute(query("note_given_up"), key, before.used_up))

    async def record(self, purpose: str, before: Sent, target: bytes, call: bytes) -> bool:
        """True when there is a new intent: not while one of its purpose is on its way, also when a
        reorg has brought that back since `sent` was asked."""
        if before.is_open or before.used_up:
            return False
        fields = (self.queue, f"{purpose}:{before.tries + 1}", target, call)
        done = await asked(self.pool.execute(query("begin_fresh_intent"), *fields))
        return bool(done == "INSERT 0 1")
