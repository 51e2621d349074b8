"""How a lane's story ends: the faults are over, and each intent has to end well."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chaos.node import Faults
from chaos.operators import WISH_ROUNDS
from chaos.world import Violation
from corechain_relayer.submitter.plan import State

if TYPE_CHECKING:
    from chaos.lane import LaneStory

HEAL_ROUNDS = 150
CAP = 10_000
CLEAR_ROUNDS = 4
"""So many of a quiet world are enough to see what a reorg took."""


class Healing:
    """Mixed into `LaneStory`."""

    def heal(self: "LaneStory") -> None:
        """All faults end. Each intent must end, done once and final."""
        world, chain = self.world, self.chain
        world.dies_at = world.fails_at = world.interrupts_at = -1
        chain.stalled = chain.paused = False
        self.known.invalid.clear()
        chain.base_fee, self.node.faults = 100, Faults()
        self.rules.cap = self.node.max_fee = CAP
        self.tables.pause = self.tables.budget = None
        self.policy = self.submitter.policy = replace(self.policy, max_fee=CAP, budget=None)
        world.note("heal")
        if world.rng.random() < 0.3:
            self.operator_bumps()
        self.check_withdrawn()
        self.owner_registers_again()
        wished = self.open_wishes()
        for number in range(HEAL_ROUNDS):
            if self._all_final():
                return
            world.now += 6
            self.looked.clear()
            self._release()
            self.work()
            if wished and number < WISH_ROUNDS:
                continue
            if number == WISH_ROUNDS:
                self.check_wishes(wished)
            if number == CLEAR_ROUNDS:
                self.check_confirmed()
            self.mine(1)
            # Of a journal that was lost something may lie above a gap for ever.
            if not chain.pool or not self._open():
                self.mine(chain.profile.confirmations // 2)
        left = [r.intent.key + " " + r.intent.state for r in self._ours() if not self._ended(r)]
        raise Violation("I3", f"not done in {HEAL_ROUNDS} rounds of a quiet world: {left}")

    def _ours(self: "LaneStory") -> list[Any]:
        return [r for r in self.tables.rows.values() if r.intent.key.startswith("batch:")]

    def _ended(self: "LaneStory", row: Any) -> bool:
        state = row.intent.state
        return state is State.FINAL or (row.cancelled and state is State.VOID)

    def _all_final(self: "LaneStory") -> bool:
        return all(map(self._ended, self._ours()))

    def _open(self: "LaneStory") -> bool:
        return any(r.intent.state in (State.QUEUED, State.PENDING) for r in self._ours())

    def _release(self: "LaneStory") -> None:
        """The operator."""
        for row in self.tables.rows.values():
            if row.intent.halt is not None:
                row.intent = replace(row.intent, halt=None, failures=0)

    def check_confirmed(self: "LaneStory") -> None:
        """What a reorg took is open again: what waits behind it would be replaced up to the fee cap
        until that is final."""
        for row in self.tables.rows.values():
            is_there = row.confirmed is None or self.chain.now.stands(row.confirmed)
            if row.intent.state is State.CONFIRMED and not is_there:
                raise Violation("I8", f"{row.intent.key} is confirmed in a block that is gone")

    def _check_pace(self: "LaneStory") -> None:
        """I16: nothing is sent more often than a round in each second of virtual time asks for."""
        for times in self.known.sends.values():
            allowed = (times[-1] - times[0]) / 0.5 + self.world.session + 2
            if len(times) > allowed:
                raise Violation("I16", f"sent {len(times)} times, {allowed} would do")

    def check_end(self: "LaneStory") -> None:
        chain, mined = self.chain, self.chain.now.mined
        for row in self._ours():
            times = sum(1 for e in mined if e.payload == row.intent.calldata and e.good)
            times += row.intent.calldata in chain.elsewhere
            if row.cancelled:
                self.check_cancelled(row, times)
            elif times != 1:
                raise Violation("I3", f"{row.intent.key} is done {times} times")
        pending = [r.intent for r in self.tables.rows.values() if r.intent.state is State.PENDING]
        gaps = [i for i in pending if i.nonce is not None and i.nonce > len(mined)]
        if gaps:
            raise Violation("I5", f"above a gap at {len(mined)}: {gaps}")
        self._check_pace()
        self._check_seen()

    def _check_seen(self: "LaneStory") -> None:
        """I17: what was done about faults is counted where operators look."""
        for name, times in self.world.owed.items():
            if self.world.said[name] != times:
                raise Violation("I17", f"{name} counted {self.world.said[name]} of {times} times")
