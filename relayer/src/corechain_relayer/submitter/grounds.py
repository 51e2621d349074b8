"""What a transaction rests on beside its own queue, and that a reorg may take away. Pure.

A commit rests on the registrations of its batch's devices, a veto on the root that it means.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from corechain_relayer.errors import OTHER_COMMITMENT
from corechain_relayer.submitter.plan import Action, Intent, Send, State

REGISTRATION_GONE, REGISTRY_UNREAD = "RegistrationGone", "RegistryUnread"
ROOT_REPLACED, CHAINED_TO_ANOTHER = "RootReplaced", "ChainedToAnother"
"""Reasons, as operators see them."""
NOTHING = "nothing:"
"""Keys of intents that spend a nonce and do nothing else begin like this: they rest on nothing."""


@dataclass(frozen=True, slots=True)
class Weak:
    """Why an intent must not come into a block as things stand. `reason`: a name.

    `is_gone`: what it rests on is not on the chain that is built on now, so that what is signed for
    it already is replaced by a transfer of nothing. Else it could not be asked, and nothing is
    signed or sent until it can.
    """

    reason: str
    why: str
    is_gone: bool = True


Grounds = Callable[[Sequence[Intent]], Awaitable[Mapping[int, Weak]]]
"""Those of some intents that must not come into a block now, by id; asked right before signing."""


async def solid(intents: Sequence[Intent]) -> Mapping[int, Weak]:
    """Of intents that rest on nothing which a reorg can make false."""
    return {}


def misled(intents: Sequence[Intent]) -> Mapping[int, Weak]:
    """Those behind a batch in whose place another one stands, in the order of their lane: their
    headers name ours as the one before. In a block they would prove a broken chain
    (BatchChallenges: `BrokenChain`), which costs the bond."""
    numbers = (n for n, intent in enumerate(intents) if intent.halt == OTHER_COMMITMENT)
    first = next(numbers, len(intents))
    behind = (intent for intent in intents[first + 1 :] if not intent.key.startswith(NOTHING))
    return {intent.id: _chained_to(intents[first]) for intent in behind}


def _chained_to(intent: Intent) -> Weak:
    why = (
        f"{intent.key}, which it goes on from, has another commitment in its place on chain: a "
        "commit now would cost the bond"
    )
    return Weak(CHAINED_TO_ANOTHER, why)


def withdrawn(intents: Sequence[Intent], weak: Mapping[int, Weak]) -> list[Intent]:
    """Pending ones whose grounds are gone, as if somebody had cancelled them: their nonces are
    spent on nothing. The journal does not call them cancelled, so that they are signed anew."""
    return [_withdrawn(intent, weak.get(intent.id)) for intent in intents]


def _withdrawn(intent: Intent, weak: Weak | None) -> Intent:
    if weak is None or not weak.is_gone or intent.state is not State.PENDING:
        return intent
    return replace(intent, cancel=intent.cancel or weak.why)


def at_rest(intents: Sequence[Intent], weak: Mapping[int, Weak]) -> set[int]:
    """Ids of those for which nothing is signed or sent. To cancel one no grounds are needed."""
    held = (i for i in intents if i.id in weak)
    return {i.id for i in held if i.state is State.QUEUED or i.cancel is None}


def is_harmless(action: Action, weak: Mapping[int, Weak]) -> bool:
    """Whether it brings nothing to the network that must not come into a block, for want of grounds
    or as an operator has cancelled it: a fee at its cap, or what somebody else has done, sends the
    old bytes again."""
    if not isinstance(action, Send) or action.attempt.cancels:
        return True
    return action.intent.cancel is None and action.intent.id not in weak
