"""A mistake in the real code; those of what commits rest on, the challenger, the reward guard."""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.run import SUBMITTER, simulate
from corechain_relayer.challenger import roots as reward_roots
from corechain_relayer.challenger import sending
from corechain_relayer.challenger.expiring import Expiring
from corechain_relayer.challenger.facts import Facts
from corechain_relayer.challenger.roots import RootWatch
from corechain_relayer.challenger.sending import StillTaken
from corechain_relayer.challenger.service import Challenger
from corechain_relayer.challenger.waiting import PendingRoots
from corechain_relayer.submitter import decide as decide_module
from corechain_relayer.submitter import service as service_module
from corechain_relayer.submitter.footing import BatchFooting
from corechain_relayer.submitter.service import Submitter

MOST_SEEDS = 3_000


@dataclass(frozen=True, slots=True)
class Mutant:
    """`owner`: the module or class that has the function."""

    says: str
    owner: Any
    function: str
    old: str
    new: str
    role: str = SUBMITTER
    """Whose stories show it."""

    @contextmanager
    def in_place(self) -> Iterator[None]:
        real = getattr(self.owner, self.function)
        source = textwrap.dedent(inspect.getsource(real))
        assert source.count(self.old) == 1, f"{self.says}: {self.old!r} is not there once"
        names: dict[str, Any] = {}
        exec(source.replace(self.old, self.new), real.__globals__, names)
        setattr(self.owner, self.function, names[self.function])
        try:
            yield
        finally:
            setattr(self.owner, self.function, real)

    def seeds_until_noticed(self, most: int = MOST_SEEDS) -> tuple[int, str] | None:
        """How many seeds it takes, and what does not hold then; None when nothing was noticed."""
        with self.in_place():
            for seed in range(most):
                try:
                    violation = simulate(seed, self.role).violation
                except Exception as error:  # a mutant may break anything: that is noticed too
                    return seed + 1, f"crash: {type(error).__name__}"
                if violation is not None:
                    return seed + 1, violation.name
        return None


OF_RESTS_AND_DISPUTES = (
    Mutant(
        "does not ask what a commit rests on",
        Submitter,
        "_act",
        "weak = await self.grounds(intents)",
        "weak = {}",
    ),
    Mutant(
        "signs what rests on nothing",
        service_module,
        "decide",
        "still |= at_rest(look.intents, look.weak)",
        "pass",
    ),
    Mutant(
        "leaves in the pool what rests on nothing",
        decide_module,
        "_judged",
        "withdrawn(look.intents, weak)",
        "look.intents",
    ),
    Mutant(
        "forgets what a reorg can still take",
        BatchFooting,
        "_settle",
        "if not self.registry.unsettled(rests)",
        "if True",
    ),
    Mutant(
        "never looks again for a file that was missing",
        Challenger,
        "_examine",
        "not self._again.is_due(key, left_s)",
        "self._again._tries[key]",
        "challenger",
    ),
    Mutant(
        "judges once, whatever a reorg takes",
        Challenger,
        "_undo",
        "if above is None:",
        "if True:",
        "challenger",
    ),
    Mutant(
        "keeps what the registry said before a reorg",
        Facts,
        "forget",
        "self._slots.clear()",
        "pass",
        "challenger",
    ),
    Mutant(
        "never doubts a charge that the contract refuses",
        Challenger,
        "_is_charged",
        " and key not in self._doubts.refused",
        "",
        "challenger",
    ),
    Mutant(
        "challenges once only",
        Challenger,
        "_challenge",
        "if before.is_open:",
        "if before.states:",
        "challenger",
    ),
    Mutant(
        "sends what the contract refuses",
        StillTaken,
        "__call__",
        "if said:",
        "if False:",
        "challenger",
    ),
    Mutant(
        "demands once only",
        Challenger,
        "_demand",
        "before.is_open or before.is_done",
        "before.states",
        "challenger",
    ),
    Mutant(
        "leaves a bond that nobody answers for",
        Expiring,
        "due",
        "by.address == self.calls.sender",
        "False",
        "challenger",
    ),
    Mutant(
        "calls honest what hides its data",
        Challenger,
        "_examine_one",
        "self._asking[key] = file",
        "self.examiner.honest.add(key)",
        "challenger",
    ),
    Mutant(
        "never hurries a challenge",
        Challenger,
        "_measure",
        "Pace(min(left_s, self._left_s(todo, hidden, head)), self.terms.challenge_s)",
        "Pace(self._left_s(todo, hidden, head), self.terms.challenge_s)",
        "challenger",
    ),
    Mutant(
        "never hurries a demand",
        Challenger,
        "_measure",
        "Pace(min(left_s, self._left_s(todo, hidden, head)), self.terms.challenge_s)",
        "Pace(left_s, self.terms.challenge_s)",
        "challenger",
    ),
    Mutant(
        "holds an allowance for granted",
        Challenger,
        "_affords",
        "if await self.calls.allowance(token) < fee:",
        "if False:",
        "challenger",
    ),
    Mutant(
        "trusts a private RPC to the end",
        sending,
        "is_late",
        "pace.left_s * PUBLIC_SHARE < pace.window_s",
        "False",
        "challenger",
    ),
)
OF_REWARDS = (
    Mutant(
        "vetoes at the first look",
        RootWatch,
        "round",
        "self._said.get(key) is None or (self._said[key] == newest.root) != is_right",
        "is_right and key not in self._said",
        "rewards",
    ),
    Mutant(
        "believes that logs tell of each root",
        RootWatch,
        "_is_told",
        "self._logs = RootLogs()",
        "pass",
        "rewards",
    ),
    Mutant(
        "judges a root without those before it",
        RootWatch,
        "_is_told",
        " or left_out(epochs)",
        "",
        "rewards",
    ),
    Mutant(
        "never hurries a veto",
        RootWatch,
        "_pace",
        "Pace(newest.active_at - head.timestamp, newest.active_at - begun)",
        "Pace()",
        "rewards",
    ),
    Mutant(
        "takes blocks to come for data",
        RootWatch,
        "_judge",
        "epochs[-1].through_block > place.number",
        "False",
        "rewards",
    ),
    Mutant(
        "vetoes once only",
        RootWatch,
        "_may_object",
        "before.used_up or await",
        "('tried' if before.states else '') or await",
        "rewards",
    ),
    Mutant(
        "waits until a wrong root is final, whatever is left",
        reward_roots,
        "waits_for_finality",
        " and SPARE * lag_s < left_s",
        "",
        "rewards",
    ),
    Mutant(
        "vetoes whatever root waits",
        PendingRoots,
        "astray",
        "if meant != waits:",
        "if False:",
        "rewards",
    ),
    Mutant(
        "vetoes what a reorg has made right",
        PendingRoots,
        "astray",
        "IS_RIGHT if self.is_right(meant) else",
        "",
        "rewards",
    ),
    Mutant(
        "asks for the root of what only fills a nonce",
        PendingRoots,
        "replaced",
        " if not intent.key.startswith(NOTHING)",
        "",
        "rewards",
    ),
)
