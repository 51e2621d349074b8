"""How a client pays for one query, step by step, without I/O: a flow yields a step and gets its
result, or the outage of it thrown in.

A payment whose answer is lost is sent again as it was: a server that charged it gives the answer
again, one that did not charges it then.
"""

import hashlib
import json
import random
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from corechain.payments import Payment, PaymentChannel, Price, corrects, offers
from corechain.protocol.errors import ChargedUnanswered
from corechain.steps import (
    HTTP_PAYMENT_REQUIRED,
    HTTP_SERVER_ERROR,
    ApiUnavailable,
    Ask,
    Pause,
    PayingStep,
    Request,
    Send,
)

HTTP_TOO_EARLY = 425
UNSEEN_TRIES, UNSEEN_PAUSE_S = 40, 0.25
"""A channel that was just opened is mirrored within seconds."""
LOST_TRIES, LOST_PAUSE_S = 3, 0.25
"""A connection that broke is tried again at once; an outage is for the caller to wait out."""
CORRECTIONS, CORRECTION_PAUSE_S = 16, 0.02
"""How often one query follows a corrected count. Other holders of the key may come between again
and again; pauses of random length let one of them go first."""


class Reply(Protocol):
    """What the flow reads of an HTTP answer."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


R = TypeVar("R", bound=Reply)


Refill = Callable[[PaymentChannel, Price], None]
"""Deposits into a channel so much that it holds the price, or raises. Blocking."""
Paying = Generator[PayingStep, Any, R]


def query_id(request: Request) -> bytes:
    """The same for the same query: what a lost answer is asked again by."""
    told = [request.method, request.path, sorted(request.params.items())]
    return hashlib.sha256(json.dumps(told).encode()).digest()


def pay(
    channel: PaymentChannel,
    request: Request,
    refusal: R,
    cap: int | None,
    claimed: Callable[[], int],
    refill: Refill | None = None,
) -> Paying[R]:
    """Pays for a query that was refused by a 402; its answer, or the last refusal.

    `cap` is the most it may cost (None: what the channel agreed to), `claimed` asks the chain what
    was drawn, `refill` deposits more where the channel holds too little. Take the channel's turn
    first. Raises PaymentRequired, WrongPayee, PriceTooHigh, ChargedUnanswered, ApiUnavailable when
    the answer is lost for good, and what `refill` raises.
    """
    query, deposit, unseen = query_id(request), channel.deposit, 0
    price = channel.asked(refusal.headers, cap)
    for correction in range(CORRECTIONS):
        if correction > 1:
            yield Pause(random.uniform(0, correction * CORRECTION_PAUSE_S))
        yield from _covered(channel, price, refill)
        payment = channel.sign(price, query)
        reply: R = yield from _delivered(channel, payment)
        while channel.deposit > deposit and unseen < UNSEEN_TRIES and _says_too_little(reply):
            # The deposit is on the chain, and the API has not mirrored its block yet.
            unseen += 1
            yield Pause(UNSEEN_PAUSE_S)
            reply = yield from _delivered(channel, payment)
        if reply.status_code != HTTP_PAYMENT_REQUIRED:
            if reply.status_code < 300:
                channel.answered(payment, reply.headers)
            return reply
        if not offers(reply.headers, channel.domain.chain_id):
            return reply
        before, price = price, channel.asked(reply.headers, cap)
        moved = yield from _corrected(channel, price, claimed)
        if not moved and price.amount == before.amount:
            return reply
    return reply


def _covered(
    channel: PaymentChannel, price: Price, refill: Refill | None
) -> Generator[PayingStep, Any, None]:
    """Raises PaymentRequired where the channel holds too little and nobody adds to it."""
    if refill is not None and channel.lacks(price):
        yield Ask(partial(refill, channel, price))
    channel.check(price)


def _says_too_little(reply: Reply) -> bool:
    """A refusal that does not correct our count: what the channel holds is too little for it."""
    return reply.status_code == HTTP_PAYMENT_REQUIRED and not corrects(reply.headers)


def _corrected(
    channel: PaymentChannel, price: Price, claimed: Callable[[], int]
) -> Generator[PayingStep, Any, bool]:
    try:
        return channel.follow(price)
    except ChargedUnanswered:
        # Only the contract can have drawn what nobody shows a voucher for.
        return channel.follow(price, (yield Ask(claimed)))


def _delivered(channel: PaymentChannel, payment: Payment) -> Paying[R]:
    """Sends one voucher until something is said of it."""
    lost = unseen = 0
    while True:
        try:
            reply: R = yield Send(payment.header)
        except ApiUnavailable:
            channel.doubt(payment)
            lost += 1
            if lost == LOST_TRIES:
                raise
        except BaseException:
            # Cancelled on the way: it may have been charged.
            channel.doubt(payment)
            raise
        else:
            if reply.status_code == HTTP_TOO_EARLY and unseen < UNSEEN_TRIES:
                unseen += 1
                yield Pause(UNSEEN_PAUSE_S)
                continue
            if reply.status_code < HTTP_SERVER_ERROR:
                return reply
            # A gateway in between answers 5xx for an answer that it lost.
            channel.doubt(payment)
            lost += 1
            if lost == LOST_TRIES:
                return reply
        yield Pause(LOST_PAUSE_S)
