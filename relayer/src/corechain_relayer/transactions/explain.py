"""Why a transaction is not there yet, in sentences. Pure: journal and node in, sentences out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from corechain_relayer.errors import KEEPS_REVERTING, OTHER_COMMITMENT, TRANSACTION_REFUSED
from corechain_relayer.submitter.grounds import (
    CHAINED_TO_ANOTHER,
    REGISTRATION_GONE,
    REGISTRY_UNREAD,
    ROOT_REPLACED,
)
from corechain_relayer.submitter.plan import State
from corechain_relayer.transactions.node_facts import NodeAway, NodeFacts
from corechain_relayer.transactions.rows import Ahead, AttemptRow, QueueLook, Reason, Transaction

GWEI = 10**9
HELD = (CHAINED_TO_ANOTHER, REGISTRATION_GONE, REGISTRY_UNREAD, ROOT_REPLACED)
"""Reasons that no node has given: we hold it ourselves."""
WAYS_OUT = {
    OTHER_COMMITMENT: "Stop whatever else commits with this key, then start the lane with an empty "
    "database and all data files of both: it is rebuilt from the chain. A reorg that takes the "
    "other commitment back cures it alone",
    KEEPS_REVERTING: "Cure what the contract says",
    TRANSACTION_REFUSED: "Look at the node: it calls the transaction itself invalid",
}
"""Of a halt, before it is tried again."""
LOOKED_S = 60.0
"""A submitter notes every five seconds that it looks; one that waits for an outage not so often."""
RUN = "corechain relayer run --role"
STARTS = {
    "guard": f"{RUN} guard",
    "watchtower": f"{RUN} watchtower",
    "challenger": "corechain challenger run",
    "vetoes": "corechain challenger run",
}
"""What looks after a queue that is no lane's."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one intent. `owner`: whose the sender's next nonce is, by our journal.
    `days_left`: how long the key's balance lasts at the pace of the last days."""

    transaction: Transaction
    attempts: Sequence[AttemptRow]
    ahead: Ahead | None
    look: QueueLook | None
    node: NodeFacts | NodeAway
    now: float
    owner: str | None = None
    days_left: float | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether nothing is signed, sent or filled for it until an operator says so."""
        return self.transaction.halt is not None or self.transaction.pause is not None

    @property
    def live(self) -> AttemptRow | None:
        return live_attempt(self.transaction, self.attempts)


def live_attempt(found: Transaction, attempts: Sequence[AttemptRow]) -> AttemptRow | None:
    """The newest attempt under the present nonce."""
    mine = [a for a in attempts if a.nonce == found.nonce and not a.refused]
    return mine[-1] if mine and found.nonce is not None else None


@dataclass(slots=True)
class Explanation:
    """`stuck`: whether it goes on by itself only if something changes. `reasons`: a name for each
    cause that was found."""

    sentences: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    stuck: bool = False

    def say(self, reason: str, sentence: str, *, stuck: bool = False) -> None:
        self.reasons.append(reason)
        self.sentences.append(sentence)
        self.stuck |= stuck

    def document(self) -> dict[str, Any]:
        return {"stuck": self.stuck, "reasons": self.reasons, "explanation": self.sentences}


def explain(facts: Facts) -> Explanation:
    """At least one sentence; the causes an operator can cure come first."""
    said = Explanation()
    if not facts.transaction.is_open:
        _ended(facts, said)
        return said
    _held(facts, said)
    _looked_after(facts, said)
    _asked_for(facts, said)
    if facts.transaction.halt is not None:
        pass  # a pool, or its turn, is not what it waits for
    elif facts.transaction.state is State.QUEUED:
        _in_turn(facts, said)
    else:
        _on_its_way(facts, said)
    _funds(facts, said)
    return said


def _ended(facts: Facts, said: Explanation) -> None:
    found = facts.transaction
    if found.state is State.VOID:
        said.say("Void", f"It ended without a transaction that did it: {found.reason}.")
        return
    by = found.transaction.hex() if found.transaction else "unknown"
    ours = any(a.hash == found.transaction for a in facts.attempts)
    whose = "our transaction" if ours else "a transaction that is not ours,"
    said.say("Mined", f"It is done by {whose} 0x{by} in block {found.block}.")
    if found.state is State.FINAL:
        said.say("Final", "The block is final: nothing takes it back.")
    else:
        said.say("FinalAwaited", "The block is not final yet; a reorg would send it again.")


def _held(facts: Facts, said: Explanation) -> None:
    found = facts.transaction
    if found.halt is not None:
        said.say(
            found.halt.kind,
            f"It stands still since {_at(found.halt)} ({found.halt.kind}): "
            f"{found.halt.why}. {WAYS_OUT.get(found.halt.kind, 'Cure that')}. `corechain relayer "
            f"release --intent {found.key}` tries it again.",
            stuck=True,
        )
    if found.pause is not None:
        said.say(
            found.pause.kind,
            f"Queue {found.queue} is paused since {_at(found.pause)} "
            f"({found.pause.why}): nothing is signed or sent. `corechain tx resume {found.queue}` "
            "ends that.",
            stuck=True,
        )
    if found.wait is not None:
        was = "held" if found.wait.kind in HELD else "refused"
        said.say(
            found.wait.kind,
            f"It was {was} since {_at(found.wait)} ({found.wait.kind}): "
            f"{found.wait.why}. It is tried again by itself.",
            stuck=True,
        )


def _looked_after(facts: Facts, said: Explanation) -> None:
    queue, look = facts.transaction.queue, facts.look
    command = f"{RUN} submitter" if queue.startswith("lane:") else STARTS.get(queue)
    start = f"start `{command}`" if command else "run the command again"
    if look is None:
        said.say("NoSubmitter", f"No process has ever looked after {queue}: {start}.", stuck=True)
    elif look.age_s > LOOKED_S:
        gone = f"No process has looked after {queue} for {look.age_s:.0f} s"
        said.say("NoSubmitter", f"{gone}: {start}, or see its `/ready`.", stuck=True)
    elif look.problem is not None and facts.transaction.key not in look.problem:
        said.say("QueueInTrouble", f"Its queue is in trouble: {look.problem}.", stuck=True)
    if isinstance(facts.node, NodeAway):
        said.say("NodeAway", f"The node does not answer: {facts.node.why}.", stuck=True)


def _asked_for(facts: Facts, said: Explanation) -> None:
    found, live = facts.transaction, facts.live
    if found.cancel is not None:
        done = live is not None and live.cancels
        how = "is signed" if done else "will be signed as soon as the budget has room for it"
        said.say(
            "Cancelling",
            f"An operator cancels it ({found.cancel.why}): a transfer of nothing under its nonce "
            f"{how}; it is void once that is final. Its call is not sent again; a node that has it "
            "in its pool may still bring it into a block.",
        )
    elif live is not None and found.bump == live.hash and found.spent_block is None:
        if limit := _capped(facts, live):
            said.say("FeeCapped", f"A bump is wanted, but {limit}.", stuck=True)
        else:
            in_trouble = facts.look is not None and facts.look.problem is not None
            waits = facts.is_stopped or in_trouble or found.wait is not None
            when = "once that is over, its transaction is replaced"
            now = "the next round replaces its transaction"
            said.say("Bumping", f"A bump is wanted: {when if waits else now}.")


def _capped(facts: Facts, live: AttemptRow) -> str | None:
    """That there is no room for a replacement, and what makes some."""
    cap = facts.look.max_fee if facts.look else None
    if cap is None or live.max_fee * 9 // 8 + 1 <= cap:
        return None
    return f"the cap of {_gwei(cap)} leaves no room for more: raise RELAYER_MAX_FEE_PER_GAS"


def _in_turn(facts: Facts, said: Explanation) -> None:
    ahead, look = facts.ahead, facts.look
    if ahead is None:
        said.say("NextInTurn", "It is the next of its queue, and nothing is signed for it yet.")
    elif look is not None and not look.ordered:
        said.say("WaitsForItsTurn", f"{_others(ahead)}; its queue signs one a round.")
    else:
        window = look.in_flight if look else 1
        said.say(
            "WaitsForEarlier",
            f"{_others(ahead)}, and its queue keeps their order: {window} may wait for a block at "
            f"a time. `corechain tx explain {ahead.key}` says what the first one waits for.",
        )


def _others(ahead: Ahead) -> str:
    are = "are" if ahead.number > 1 else "is"
    first = f"the first is {ahead.key} ({ahead.state})"
    return f"{ahead.number} {are} before it, {first}"


def _on_its_way(facts: Facts, said: Explanation) -> None:
    live, node = facts.live, facts.node
    if live is None:
        when = "once that is over, it is signed anew"
        now = "the next round signs it anew"
        stands = f"Nothing signed for it stands: {when if facts.is_stopped else now}."
        said.say("NextInTurn", stands)
    elif facts.transaction.spent_block is not None:
        block = facts.transaction.spent_block
        what = "taken" if live.cancels else "spent by a transaction that did not do it"
        is_void = live.cancels and facts.transaction.cancel is not None
        said.say(
            "FinalAwaited",
            f"Its nonce {live.nonce} was {what} in block {block}. Once that is final it is "
            f"{'void' if is_void else 'signed anew under another nonce'}.",
        )
    elif live.sent_at is None:
        when = "once that is over, it is sent" if facts.is_stopped else "it is sent again"
        said.say("NotTaken", f"It is signed, and no node has taken it yet: {when}.")
    elif isinstance(node, NodeFacts) and node.count is not None:
        for reason, sentence, stuck in _in_pool(facts, live, node, node.count):
            said.say(reason, sentence, stuck=stuck)
    elif isinstance(node, NodeFacts):
        said.say("InPool", "It is sent; which nonces are in blocks the node has not said.")


def _in_pool(
    facts: Facts, live: AttemptRow, node: NodeFacts, count: int
) -> Iterator[tuple[str, str, bool]]:
    if live.nonce > count:
        whose = facts.owner
        if whose is None:
            gap = f"nonce {count} belongs to no transaction of ours, so nothing above is mined"
            when = "once that is over" if facts.is_stopped else "soon"
            filled = f"the gap is filled {when}"
            yield "NonceGap", f"It has nonce {live.nonce}, but {gap}; {filled}.", True
        else:
            first = f"nonce {count}, of {whose}, is not mined yet"
            yield "WaitsForNonce", f"It has nonce {live.nonce}, and {first}.", False
    elif live.nonce < count:
        yield "NonceSpent", f"Its nonce {live.nonce} is in a block: the next look tells.", False
    if live.max_fee < node.base_fee:
        fees = f"its fee cap of {_gwei(live.max_fee)} is below the base fee {_gwei(node.base_fee)}"
        bump = f"`corechain tx bump {facts.transaction.key}` replaces it"
        limit = _capped(facts, live)
        yield "FeeBelowBase", f"No block takes it now: {fees}; {limit or bump}.", True
    elif node.knows is False and live.nonce >= count:
        when = "once that is over, it is sent" if facts.is_stopped else "it is sent again"
        dropped = "It was sent, and no node has it: pools drop what is old or cheap"
        yield "NotInPool", f"{dropped}; {when}.", False
    elif live.nonce == count:
        since = facts.now - (live.sent_at or facts.now)
        bid = f"bids up to {_gwei(live.max_fee)} at a base fee of {_gwei(node.base_fee)}"
        bid = f"{bid}, {_gwei(live.priority_fee)} of it for who makes the block"
        yield "InPool", f"It is sent for {since:.0f} s, can be in any block, and {bid}.", False


def _funds(facts: Facts, said: Explanation) -> None:
    node, look = facts.node, facts.look
    if isinstance(node, NodeAway) or node.balance is None or look is None:
        return
    whose = f"The key 0x{look.sender.hex()}"
    if node.balance == 0:
        said.say("NoFunds", f"{whose} has nothing to pay with: fund it.", stuck=True)
    elif facts.days_left is not None and facts.days_left < 1:
        lasts = f"has {_ether(node.balance)}, enough for {facts.days_left:.1f} days"
        said.say("LowFunds", f"{whose} {lasts} at the pace of the last days.")


def _at(reason: Reason) -> str:
    return f"{reason.since:%Y-%m-%d %H:%M} UTC"


def _gwei(fee: int) -> str:
    return f"{fee / GWEI:.9g} gwei"


def _ether(amount: int) -> str:
    return f"{amount / 10**18:.6g} ether"
