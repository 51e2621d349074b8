"""What the state machines share: a model in plain Python is the oracle of a contract."""

import os
from abc import abstractmethod
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from support.bench import actor
from support.evm import Contract, Evm, Refused

SCALE = int(os.environ.get("CORECHAIN_DIFFERENTIAL", "1"))
"""How many times the effort of CI."""
EXAMPLES, STEPS = 100, 50


class OracleMachine(RuleBasedStateMachine):
    """Everything is done twice: by the model, and by the contract on a chain of its own.

    What the model refuses the contract refuses, by the same name and the same values.
    """

    model: Any

    def __init__(self) -> None:
        super().__init__()
        self.evm = Evm()
        self.addresses: dict[str, bytes] = {}
        self.agreed = True

    def cast(self, *roles: str) -> None:
        self.addresses |= {role: actor(role).raw for role in roles}

    def deploy(self, role: str, kind: str, *arguments: object) -> Contract:
        contract = self.evm.deploy(kind, *arguments)
        self.addresses[role] = contract.address
        return contract

    def both(self, decide: Callable[[Any], object], send: Callable[[], object]) -> bool:
        """Whether it was done. What the model returns, if anything, the contract has told.
        (The model takes its steps on a copy: what it refuses halfway has not happened.)"""
        self.agreed = False
        after = deepcopy(self.model)
        expected, found = _outcome(lambda: decide(after)), _outcome(send)
        told, said = self._told(found), self._told(expected)
        assert told == said, f"the contract: {told}, the model: {said}"
        done = not isinstance(found, Refused)
        if done:
            assert expected is None or found == expected, (
                f"the contract: {found}, the model: {expected}"
            )
            self.model = after
        self.agreed = True
        return done

    def _told(self, outcome: object) -> object:
        """A refusal in the words of the contract: the model says names where it says addresses."""
        if not isinstance(outcome, Refused):
            return "done"
        values = (self.addresses.get(v, v) if isinstance(v, str) else v for v in outcome.values)
        return (outcome.name, *values)

    def time_passes_by(self, seconds: int) -> None:
        self.evm.pass_time(seconds)
        self.model.now = self.evm.now

    def teardown(self) -> None:
        """The way out, from any state. Not after a failure, which it would hide."""
        if self.agreed:
            self.everyone_leaves()

    @abstractmethod
    def everyone_leaves(self) -> None:
        """Each machine's own way out."""


def _outcome(act: Callable[[], object]) -> object:
    try:
        return act()
    except Refused as refused:
        return refused


def run_machine(machine: type[OracleMachine]) -> None:
    """A hundred lives of fifty steps, times CORECHAIN_DIFFERENTIAL."""
    effort = settings(
        max_examples=EXAMPLES * SCALE,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=effort)
