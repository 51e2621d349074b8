"""Gives a lane to another key, a step at a time. Level-triggered: each run looks at contract and
journal, does what can be done now, and says what it waits for; so it may be ended at any point.

The contract names another submitter only for a lane without a bond (`assignLane`), and a bond is
free only a challenge window after the lane was closed: the lane stands still for that long.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from corechain.node import ChainUnavailable, LogEntry, quantity
from corechain.protocol.eip712 import uint_word
from corechain.protocol.logs import topic_of
from corechain.protocol.receipt_events import ReceiptSignerNamed
from corechain_relayer.journal.batches import lane_queue
from corechain_relayer.submitter.plan import State
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.errors import NobodysLane, UnknownQueue

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from corechain.chain import Chain

CONTRACT = "DataBatches"


class Step(StrEnum):
    """What is to be done next. `WAIT` and `DRAIN` do themselves."""

    DRAIN = "drain"
    CLOSE = "closeLane"
    WAIT = "wait"
    WITHDRAW = "withdrawBond"
    ASSIGN = "assignLane"
    BOND = "bondLane"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class LaneState:
    """A lane as the contract has it; addresses as 20 bytes."""

    submitter: bytes
    assignee: bytes
    bond: int
    exit_at: int
    open_demands: int
    vacated_at: int = 0

    @property
    def is_nobodys(self) -> bool:
        """Nobody has it, nobody had it: a slip of who names it."""
        return not (self.bond or self.vacated_at or any(self.assignee))


def next_step(lane: LaneState, new: bytes, in_flight: int, now: int) -> Step:
    """Pure. `in_flight`: transactions of the old key that are not final; `now`: chain time."""
    if lane.bond and lane.submitter == new:
        return Step.DONE
    if lane.bond and not lane.exit_at:
        # What the old key has signed could never land again once the lane is closed.
        return Step.DRAIN if in_flight else Step.CLOSE
    if lane.bond:
        is_free = now >= lane.exit_at and not lane.open_demands
        return Step.WITHDRAW if is_free else Step.WAIT
    if lane.assignee != new:
        return Step.ASSIGN
    # Not in the second in which the last bond went (the contract's JustVacated).
    return Step.BOND if now > lane.vacated_at else Step.WAIT


@dataclass(frozen=True, slots=True)
class Rotation:
    """Of one lane, by the contracts' admin. `pays`: whether the admin pays the new bond."""

    chain: "Chain"
    admin: "LocalAccount"
    book: Book
    lane: int
    new: bytes
    pays: bool
    releases: bool = False
    """Whether a lane is closed under whose bond receipts may be open: the admin's closing releases
    the submitter from them, and who holds one gets nothing any more."""
    told: Callable[[str], None] = lambda step: None

    async def run(self) -> dict[str, Any]:
        """What was done, and what it waits for (`waits_for`; null when the lane is the new key's).

        Raises NobodysLane, StoreUnavailable, ChainUnavailable, and the contract's errors by their
        names.
        """
        if self._look().is_nobodys:
            raise NobodysLane(self.lane)
        queue, done = lane_queue(self.lane), list[str]()
        step = await self._step()
        if step is not Step.DONE:
            await self._pause(queue)
            step = await self._step()  # what was signed until then is waited for, too
        while step not in (Step.DONE, Step.DRAIN, Step.WAIT):
            if step is Step.BOND and not self.pays:
                break
            if step is Step.CLOSE and not self.releases and self._receipt_signers():
                break
            self._do(step)
            done.append(step.value)
            self.told(step.value)
            step = await self._step()
        if step is Step.DONE:
            await self._resume(queue)
        return self._document(done, step)

    async def _step(self) -> Step:
        flying = 0
        for state in (State.PENDING, State.CONFIRMED):
            try:
                flying += len(await self.book.page(lane_queue(self.lane), [state], limit=1))
            except UnknownQueue:  # nothing was ever signed for it
                continue
        return next_step(self._look(), self.new, flying, self._now())

    def _now(self) -> int:
        """Chain time. Raises ChainUnavailable, also where the node has no latest block."""
        block = self.chain.node.call("eth_getBlockByNumber", "latest", False)
        return quantity(block.get("timestamp") if isinstance(block, dict) else block, "a time")

    def _look(self) -> LaneState:
        call = self.chain.call
        bond = list(call(CONTRACT, "bondOf", self.lane))
        return LaneState(
            _octets(call(CONTRACT, "submitterOf", self.lane)),
            _octets(call(CONTRACT, "assigneeOf", self.lane)),
            bond[1],
            bond[3],
            bond[4],
            bond[5],
        )

    def _do(self, step: Step) -> None:
        arguments: tuple[object, ...] = (self.lane,)
        if step is Step.ASSIGN:
            arguments = (self.lane, self.new)
        if step is Step.BOND:
            amount = self.chain.call(CONTRACT, "bondAmount")
            spender = self.chain.deployment.address(CONTRACT)
            self.chain.send(self.admin, "CoreToken", "approve", spender, amount)
        self.chain.send(self.admin, CONTRACT, step.value, *arguments)

    async def _pause(self, queue: str) -> None:
        if queue in await self.book.queues():
            await self.book.pause(queue, self._reason)

    async def _resume(self, queue: str) -> None:
        """What this has paused, and no pause of somebody else's."""
        health = await self.book.health(queue)
        if health.pause == self._reason:
            await self.book.resume(queue)

    @property
    def _reason(self) -> str:
        return f"rotate-key: lane {self.lane} goes to {self._new}"

    def _document(self, done: list[str], step: Step) -> dict[str, Any]:
        lane = self._look()
        waits = {
            Step.DRAIN: "transactions of the old key that are not final (`corechain tx list`)",
            Step.WAIT: f"the bond to be free, at {_time(lane.exit_at)} without open demands"
            if lane.bond
            else "another block: the old bond was withdrawn in this very second",
            Step.BOND: "the bond: `bondLane` by the new key, or this command with --bond",
        }
        if step is Step.CLOSE:
            names = ", ".join(f"0x{signer.hex()}" for signer in self._receipt_signers())
            waits[step] = (
                f"--release-receipts: receipts signed by {names} are worth nothing once the lane "
                "is closed; take the key out of the gateways, and wait until what it promised is "
                "in batches"
            )
        said = {"lane": self.lane, "done": done, "waits_for": waits.get(step)}
        return said if self._can_pay() else said | {"note": f"{self._new} has no coin for gas"}

    def _can_pay(self) -> bool:
        return (
            quantity(self.chain.node.call("eth_getBalance", self._new, "latest"), "coin", 256) > 0
        )

    @property
    def _new(self) -> str:
        return f"0x{self.new.hex()}"

    def _receipt_signers(self) -> list[bytes]:
        """Whose receipts the lane's present bond answers for."""
        chain, first = self.chain, self.chain.deployment.contract(CONTRACT).block
        since = list(chain.call(CONTRACT, "bondOf", self.lane))[2]
        start = chain.node.first_block_since(since, first)  # they are named under this very bond
        kinds = ["0x" + topic_of(ReceiptSignerNamed).hex()]
        lane = "0x" + uint_word(self.lane).hex()
        address, head = chain.deployment.address(CONTRACT), chain.node.head()
        logs = chain.node.logs(address, [kinds, lane], start, head)
        signers = {_signer_in(log) for log in logs}
        until = self._now()
        asked = (CONTRACT, "receiptSignerUntil", self.lane, since)
        return sorted(s for s in signers if chain.call(*asked, "0x" + s.hex()) >= until)


def _signer_in(log: LogEntry) -> bytes:
    """Raises ChainUnavailable."""
    if len(log.topics) < 3:
        raise ChainUnavailable("the node sent a log in a shape of its own")
    return log.topics[2][12:]


def _octets(address: object) -> bytes:
    return address if isinstance(address, bytes) else bytes.fromhex(str(address)[2:])


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
