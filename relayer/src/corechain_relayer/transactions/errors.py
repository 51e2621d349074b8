"""Why a wish of an operator is refused. Each says what to do instead."""

from typing import ClassVar

from corechain.protocol.errors import ProtocolError

OF_A_CHALLENGER = ("challenger", "vetoes")
"""Queues that are in no journal of a relayer."""


class UnknownTransaction(ProtocolError):
    """The journal has no such intent."""

    status = 404

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no transaction {name:.80} in the journal: name it by its number, its key or its hash "
            "(`corechain tx list --all`); final ones are dropped after RELAYER_INTENT_RETENTION_S"
        )
        self.name_asked = name


class UnknownQueue(ProtocolError):
    """No submitter has such a queue."""

    status = 404

    def __init__(self, queue: str, known: list[str]) -> None:
        there = ", ".join(known) or "none yet"
        said = f"no queue {queue:.40} in the journal: there are {there}"
        if queue in OF_A_CHALLENGER:
            said += "; a challenger has a journal of its own: name it in RELAYER_DATABASE_URL"
        super().__init__(said)
        self.queue, self.known = queue, known


class WishRefused(ProtocolError):
    """What is wanted of an intent cannot be, or must not."""

    status: ClassVar[int] = 409

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key, self.why = key, why


class OfAnotherQueue(WishRefused):
    """An intent and a queue are named that do not belong together."""

    def __init__(self, key: str, queue: str) -> None:
        super().__init__(key, f"it is in the queue {queue}: leave one of the two names out")


class CommitNotCancellable(WishRefused):
    """The batches behind it are chained to this one: without it they can never be proven."""

    def __init__(self, key: str, queue: str) -> None:
        why = (
            "a batch's commitment is never cancelled, as the batches behind it are chained to it; "
            f"`corechain tx pause {queue}` stops its lane before the next transaction, `corechain "
            "tx bump` replaces one that is too cheap"
        )
        super().__init__(key, why)


class AlreadyMined(WishRefused):
    """It is in a block."""

    def __init__(self, key: str, state: str) -> None:
        super().__init__(key, f"it is {state}: what is in a block cannot be replaced")


class AlreadyVoid(WishRefused):
    """It ended without a transaction."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "it is void already: nothing will be sent for it")


class NothingSigned(WishRefused):
    """There is no transaction that could be replaced."""

    def __init__(self, key: str) -> None:
        why = "nothing is signed for it yet, so there is nothing to replace: "
        super().__init__(key, f"{why}`corechain tx explain {key}` says what it waits for")


class BeingCancelled(WishRefused):
    """A cancelled intent's transactions are replaced by themselves."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "it is being cancelled, and bumped for that by itself")


class NobodysLane(WishRefused):
    """A lane without a submitter has no key that another could follow."""

    def __init__(self, lane: int) -> None:
        why = (
            "nobody ever had it, so there is no key to rotate; a new lane is given to a key by "
            "`assignLane` and `bondLane` (docs/deployers.md)"
        )
        super().__init__(f"lane {lane}", why)


class BadToken(ProtocolError):
    """The request does not carry the token of RELAYER_OPS_TOKEN."""

    status = 401

    def __init__(self) -> None:
        super().__init__("send `Authorization: Bearer …` with the token of RELAYER_OPS_TOKEN")


class UnknownWish(ProtocolError):
    """The admin API takes no such word of a transaction or a queue."""

    status = 404

    def __init__(self, word: str, known: str) -> None:
        shown = f"{word:.40}" if word.isprintable() else "that"
        super().__init__(f"the admin API does not know {shown}: the path ends with {known}")


class MalformedWish(ProtocolError):
    """The body or a parameter of a request to the admin API is not what it takes."""

    status = 422
