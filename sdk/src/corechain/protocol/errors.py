"""One failure, one name: the same in Python, Solidity, HTTP problem types and metric labels."""

import importlib
from collections.abc import Iterator
from typing import ClassVar

CATCH_UP = "Subscribe without one, then read /v1/batches (`after` an id, page by page)"


class CoreChainError(Exception):
    """Root of everything this toolkit raises on purpose."""

    @property
    def name(self) -> str:
        return type(self).__name__


class ProtocolError(CoreChainError):
    """A message is wrong. It will be wrong again: never retried."""

    status: ClassVar[int] = 400


class TransportError(CoreChainError):
    """The world failed (network, node, server). It may be retried."""


class InvalidSignature(ProtocolError):
    """The signature does not verify for the key it claims."""

    status = 403


class HighS(ProtocolError):
    """The signature's s is above half the curve order: a second encoding of the same consent."""

    status = 403


class UnknownDevice(ProtocolError):
    """The device is not in the registry."""

    status = 404

    def __init__(self, device: bytes) -> None:
        super().__init__(f"device 0x{device.hex()} is not in the registry")
        self.device = device


class RevokedDevice(ProtocolError):
    """The device was revoked by its owner."""

    status = 403

    def __init__(self, device: bytes) -> None:
        super().__init__(f"device 0x{device.hex()} is revoked")
        self.device = device


class ReplayedSequence(ProtocolError):
    """This (device, sequence) was seen. A device may treat its own retry as delivered."""

    status = 409

    def __init__(self, device: bytes, sequence: int) -> None:
        super().__init__(f"device 0x{device.hex()} already sent sequence {sequence}")
        self.device, self.sequence = device, sequence


class StaleSequence(ProtocolError):
    """The sequence is too far below the newest one to know whether it was seen."""

    status = 409

    def __init__(self, device: bytes, sequence: int, newest: int) -> None:
        super().__init__(
            f"sequence {sequence} of device 0x{device.hex()} is too far below its newest, {newest}"
        )
        self.device, self.sequence, self.newest = device, sequence, newest


class ConflictingSequence(ProtocolError):
    """Another report of this device has this sequence. The one that came first counts."""

    status = 409

    def __init__(self, device: bytes, sequence: int) -> None:
        super().__init__(
            f"device 0x{device.hex()} already sent another report with sequence {sequence}"
        )
        self.device, self.sequence = device, sequence


class SequenceOutOfReach(ProtocolError):
    """The sequence is so high that the device would soon have no next one."""

    status = 422

    def __init__(self, device: bytes, sequence: int, highest: int) -> None:
        super().__init__(
            f"sequence {sequence} of device 0x{device.hex()} is above {highest}, "
            "the highest that it may use now"
        )
        self.device, self.sequence, self.highest = device, sequence, highest


class FutureTimestamp(ProtocolError):
    """An observation lies further in the future than clocks may differ."""

    status = 422

    def __init__(self, observed_at: int, latest: int) -> None:
        super().__init__(f"observed_at {observed_at} is after the latest accepted time {latest}")
        self.observed_at, self.latest = observed_at, latest


class TimestampTooOld(ProtocolError):
    """An observation is older than the gateway accepts."""

    status = 422

    def __init__(self, observed_at: int, earliest: int) -> None:
        super().__init__(
            f"observed_at {observed_at} is before the earliest accepted time {earliest}"
        )
        self.observed_at, self.earliest = observed_at, earliest


def shown(value: object) -> str:
    """A value for a sentence, at most 60 characters."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    try:
        return f"{value!r:.60}"
    except ValueError:  # an int of over 4,300 digits, somewhere inside
        return f"a {type(value).__name__} that cannot be shown"


class InvalidValue(ProtocolError):
    """An argument is not what the parameter takes. Says which, what was given, what is right."""

    status = 422

    def __init__(self, parameter: str, value: object, right: str) -> None:
        super().__init__(f"{parameter}: {right}; given was {shown(value)}")
        self.parameter, self.value, self.right = parameter, value, right


class ValueOutOfRange(ProtocolError):
    """A number does not fit its type: NaN, infinity, a fraction, or too large."""

    status = 422

    def __init__(self, field: str, value: object, right: str = "") -> None:
        super().__init__(f"{field} does not fit its type: {shown(value)}{right and '; '}{right}")
        self.field, self.value = field, value


class UnknownMetric(ProtocolError):
    """The metric is not in the vocabulary."""

    status = 422

    def __init__(self, metric: object, hint: str = "") -> None:
        super().__init__(f"metric {shown(metric)} is not in the vocabulary{hint and '; '}{hint}")
        self.metric = metric


class InvalidCell(ProtocolError):
    """The cell is not an H3 cell."""

    status = 422

    def __init__(self, cell: int) -> None:
        super().__init__(f"0x{cell:x} is not an H3 cell")
        self.cell = cell


class WrongChain(ProtocolError):
    """The message was made for another chain or another contract."""

    status = 421


class MalformedReport(ProtocolError):
    """The bytes are not a report: not JSON, not the schema, wrong lengths."""

    status = 400


class MalformedDataFile(ProtocolError):
    """The bytes are not a canonical data file."""

    status = 422


class BodyTooLarge(ProtocolError):
    """The request body is over the limit."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is over the limit of {limit} bytes")
        self.limit = limit


class UnsupportedMediaType(ProtocolError):
    """Neither JSON nor packed reports."""

    status = 415


class InvalidProof(ProtocolError):
    """A proof does not lead to the root."""

    status = 422


class RangeIncomplete(ProtocolError):
    """The boundary leaves do not enclose the keys that were asked for."""

    status = 422


class MalformedList(ProtocolError):
    """Packed items that are not between one and the limit, each of the same size."""

    status = 422


class NotAscending(ProtocolError):
    """The ids of a fleet are not strictly ascending from above zero."""

    status = 422


class UnknownBatch(ProtocolError):
    """No such batch was committed."""

    status = 404

    def __init__(self, batch_id: int) -> None:
        super().__init__(f"batch {batch_id} was not committed")
        self.batch_id = batch_id


class NotMirrored(ProtocolError):
    """The index has not reached the block that was asked for. It may a moment later: ask again, for
    an older block, or of another index."""

    status = 409

    def __init__(self, block: int | None, indexed: int) -> None:
        wanted = "the transaction" if block is None else f"block {block}"
        super().__init__(f"{wanted} is not mirrored yet; block {indexed} is")
        self.block, self.indexed = block, indexed


class NotFound(ProtocolError):
    """There is no such thing, or it is not verified yet."""

    status = 404


class MethodNotAllowed(ProtocolError):
    """The path is there, and takes other methods."""

    status = 405


class PaymentRequired(ProtocolError):
    """No channel, no voucher, or a voucher that is too small."""

    status = 402


class VoucherMiscounted(PaymentRequired):
    """The voucher is not for what is charged so far plus the price: no less, and no more."""

    def __init__(self, due: int, offered: int, deposit: int | None = None) -> None:
        over = deposit is not None and offered > deposit
        more = f", and exceeds the deposit {deposit}" if over else ""
        super().__init__(f"the voucher is for {offered} where {due} is due{more}")
        self.due, self.offered, self.deposit = due, offered, deposit


class PriceTooHigh(PaymentRequired):
    """A 402 asks for more than the client was told to pay for a query. See its `max_price`."""

    def __init__(self, asked: int, cap: int | None) -> None:
        agreed = "no price was agreed" if cap is None else f"at most {cap} was agreed"
        super().__init__(f"a query costs {asked} base units, but {agreed}: pass max_price")
        self.asked, self.cap = asked, cap


class WrongPayee(PaymentRequired):
    """A 402 asks for another payee, token or contract than the channel pays."""


class NoPaymentAsked(ProtocolError):
    """The API takes no payment: a channel would have nothing to pay."""


class ChannelNotSeen(ProtocolError):
    """The indexer has not seen this channel on the chain yet; retry shortly."""

    status = 425


class VoucherRegressed(ProtocolError):
    """The voucher is worth no more than the one already held."""

    # Not 409: x402 clients correct their count on a 402 only.
    status = 402

    def __init__(self, held: int, offered: int) -> None:
        super().__init__(f"voucher for {offered} does not exceed the {held} already held")
        self.held, self.offered = held, offered


class ChargedUnanswered(VoucherRegressed):
    """The payee says that it charged a voucher which it refused. Nothing more is signed for it."""

    def __init__(self, charged: int, spent: int) -> None:
        CoreChainError.__init__(
            self, f"the payee says {charged} is charged where only {spent} was answered"
        )
        self.charged, self.spent = charged, spent
        self.held, self.offered = charged, spent


class Overloaded(ProtocolError):
    """A queue is at its written limit; nothing was accepted. Try again later."""

    status = 503

    def __init__(self, detail: str = "", retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(ProtocolError):
    """Something that the answer needs is away; nothing was accepted. Try again later."""

    status = 503


class CatchingUp(ProtocolError):
    """The index is still taking up a contract, or an event, that the answer is made of. What it has
    of it so far would be an answer that lacks something; `/v1/status` says how far it is."""

    status = 503


class CursorUnknown(ProtocolError):
    """The cursor is none of this log of batch events. It is of another index or chain, of a log
    that was made anew, or no cursor at all."""

    status = 400

    def __init__(self, why: str) -> None:
        super().__init__(f"the cursor is not known here: {why}. {CATCH_UP}")
        self.why = why


class CursorExpired(ProtocolError):
    """The events after the cursor are not kept any more. `newest` is the cursor to subscribe from
    before `/v1/batches` is read for what was missed."""

    status = 410

    def __init__(self, newest: str) -> None:
        super().__init__(f"events after the cursor are not kept any more. {CATCH_UP}")
        self.newest = newest


ELSEWHERE = ("batch", "consumer_errors", "logs", "receipts", "redemption")
"""Modules beside this one that define errors, which a process may not have loaded."""


def _subclasses(of: type[ProtocolError]) -> Iterator[type[ProtocolError]]:
    for child in of.__subclasses__():
        yield child
        yield from _subclasses(child)


def by_name(name: str) -> type[ProtocolError] | None:
    """The class of an error name, as a client meets it in a problem document."""
    return _loaded(name) or _elsewhere(name)


def _loaded(name: str) -> type[ProtocolError] | None:
    return next((kind for kind in _subclasses(ProtocolError) if kind.__name__ == name), None)


def _elsewhere(name: str) -> type[ProtocolError] | None:
    # Not at the top: they import this module, and few processes meet a name of theirs.
    for module in ELSEWHERE:
        importlib.import_module(f"corechain.protocol.{module}")
    return _loaded(name)
