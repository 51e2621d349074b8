"""Signs and sends for one key, several transactions at a time. The journal has each one first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from corechain.rpc_errors import RpcFailure, classify_rpc_failure
from corechain.service.errors import NodeRefused
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.budget import BUDGET_REACHED, Purse
from corechain_relayer.submitter.grounds import NOTHING
from corechain_relayer.submitter.held import say_waits
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.memory import NotSigned, Outcome, Refused, Signed, Taken
from corechain_relayer.submitter.node import Node, refusal_of
from corechain_relayer.submitter.plan import (
    Attempt,
    Fill,
    Intent,
    Send,
    Sign,
    State,
)
from corechain_relayer.submitter.signer import Account

log = structlog.get_logger(__name__)

KNOWN = (RpcFailure.ALREADY_KNOWN, RpcFailure.NONCE_TOO_LOW)
"""The node has it, or it is in a block: the receipt will tell, and a later look finds it."""
NotEstimated = tuple[Intent, NodeRefused]


def _payload(intent: Intent, sender: bytes) -> Intent:
    """What is to be signed for an intent: it, or a transfer of nothing to ourselves where an
    operator wants it cancelled."""
    if intent.cancel is None:
        return intent
    return replace(intent, target=sender, calldata=b"")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`learn`: takes what came of each transaction. `clock`: seconds since 1970."""

    journal: IntentJournal
    node: Node
    signer: Account
    metrics: Metrics
    learn: Callable[[Outcome], None]
    clock: Callable[[], float]

    async def sign(
        self, actions: Sequence[Sign], purse: Purse | None = None, ordered: bool = True
    ) -> tuple[list[Send], list[NotEstimated]]:
        """Estimates, signs and journals: what is to be sent, and what the node would not estimate.

        Nothing that `purse` does not hold is signed. In an ordered queue nothing is signed for the
        first time behind an intent that cannot be; in another one the rest moves up.
        """
        sender = self.signer.address
        calls = [_payload(action.intent, sender) for action in actions]
        limits = await self.node.estimates(sender, calls)
        refused: list[NotEstimated] = []
        signed: list[tuple[Sign, Attempt]] = []
        free = sorted(action.nonce for action in actions if not action.intent.attempts)
        for action, call, gas in zip(actions, calls, limits, strict=True):
            intent, is_first = action.intent, not action.intent.attempts
            if isinstance(gas, NodeRefused):
                refused.append((intent, gas))
            elif not is_first or free:
                now, nonce = self.clock(), free[0] if is_first else action.nonce
                attempt = await self.signer.signed(call, nonce, action.fees, gas, now)
                if purse is None or purse.pays(intent, attempt):
                    signed.append((action, replace(attempt, cancels=call is not intent)))
                    free = free[1:] if is_first else free
                    continue
                self._over_budget(intent)
            if is_first and ordered:
                free = []
        if signed:
            await self.journal.record([(a.intent, attempt) for a, attempt in signed], sender)
        return [self._signed(action.intent, attempt) for action, attempt in signed], refused

    def _over_budget(self, intent: Intent) -> None:
        why = "it may cost more than what is left of the budget of 24 hours"
        say_waits(intent, BUDGET_REACHED, why)
        self.learn(NotSigned(intent.id, BUDGET_REACHED, why))

    def _signed(self, intent: Intent, attempt: Attempt) -> Send:
        replaced = intent.attempts[-1].hash if intent.attempts else None
        self.metrics.transactions_bumped.inc(replaced is not None)
        self.learn(Signed(intent.id, replaced))
        log.info(
            "transaction signed", intent=intent.key, nonce=attempt.nonce, tx=attempt.hash.hex()
        )
        attempts = (*intent.attempts, attempt)
        bound = replace(intent, state=State.PENDING, nonce=attempt.nonce, attempts=attempts)
        return Send(bound, attempt)

    async def fill(self, action: Fill, purse: Purse | None = None) -> None:
        """A transfer of nothing to ourselves, journalled like any other attempt, if `purse` holds
        what it may cost."""
        sender = self.signer.address
        nothing = Intent(0, NOTHING + f"{sender.hex()}:{action.nonce}", sender, b"")
        try:
            gas = await self.node.estimate(sender, nothing)
        except NodeRefused as error:
            say_waits(action.intent, refusal_of(error), error.message)
            self.learn(NotSigned(action.intent.id, refusal_of(error), error.message))
            return
        call = (nothing, action.nonce, action.fees, gas, self.clock())
        attempt = await self.signer.signed(*call)
        if purse is not None and not purse.pays(nothing, attempt):
            self._over_budget(action.intent)
            return
        await self.journal.record_new(nothing, sender, attempt)
        log.warning("nonce of nobody filled", nonce=action.nonce, blocked=action.intent.key)

    async def send(self, actions: Sequence[Send]) -> list[NotEstimated]:
        """The lowest nonce first: some nodes keep nothing above a missing one. Those that no node
        took as they would revert: a sequencer without a mempool (Nitro's) says of a transaction
        what others say of an estimate."""
        ordered = sorted(actions, key=lambda action: action.attempt.nonce)
        for action in ordered:
            self._say_capped(action)
        answers = await self.node.send([action.attempt.raw for action in ordered])
        taken: list[Send] = []
        refused: list[tuple[Send, RpcFailure, NodeRefused]] = []
        for action, error in zip(ordered, answers, strict=True):
            failure = classify_rpc_failure(error.message) if error else None
            self.metrics.transactions_sent.labels(failure.value if failure else "accepted").inc()
            if error and failure and failure not in KNOWN:
                refused.append((action, failure, error))
            else:
                taken.append(action)
        await self._taken(taken)
        for action, failure, error in refused:
            self._refused(action, failure, error.message)
        return [(a.intent, error) for a, kind, error in refused if kind is RpcFailure.REVERTED]

    async def _taken(self, actions: Sequence[Send]) -> None:
        if actions:
            await self.journal.mark_sent([action.attempt for action in actions], self.clock())
        for action in actions:
            self.learn(Taken(action.intent.id, action.attempt.hash))

    def _say_capped(self, action: Send) -> None:
        if action.capped:
            self.metrics.fee_capped.inc()
            max_fee = action.attempt.fees.max_fee
            log.warning("the fee cap is reached", intent=action.intent.key, max_fee=max_fee)

    def _refused(self, action: Send, failure: RpcFailure, said: str) -> None:
        intent = action.intent
        was_sent = any(attempt.sent_at for attempt in intent.attempts)
        fills = intent.key.startswith(NOTHING)
        say_waits(intent, failure.value, said)
        self.learn(Refused(intent.id, action.attempt.hash, failure, said, was_sent, fills))
