"""The words of x402 v2 as our API reads and writes them: headers of base64 JSON. Pure."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from corechain.protocol.channel import ChannelConfig, Voucher
from corechain.protocol.errors import InvalidSignature, PaymentRequired
from corechain.protocol.signature import compact_signature

REQUIRED, SIGNATURE, RESPONSE = "PAYMENT-REQUIRED", "PAYMENT-SIGNATURE", "PAYMENT-RESPONSE"
SCHEME = "batch-settlement"
IDENTIFIER = "payment-identifier"
"""The extension by which a client names a payment, so that it can ask for its answer again."""
MAX_HEADER_BYTES = 8_192
MISCOUNTED = "invalid_batch_settlement_evm_cumulative_amount_mismatch"
"""What an x402 client waits for before it corrects its count and tries again."""
U40_MAX, U128_MAX = 2**40 - 1, 2**128 - 1
_DIGITS = re.compile(r"[0-9]{1,39}", re.ASCII)
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]*", re.ASCII)


class _Config(msgspec.Struct, rename="camel"):
    payer: str
    payer_authorizer: str
    receiver: str
    receiver_authorizer: str
    token: str
    withdraw_delay: int
    salt: str


class _Voucher(msgspec.Struct, rename="camel"):
    channel_id: str
    max_claimable_amount: str
    signature: str


class _Payload(msgspec.Struct, rename="camel", tag_field="type", tag="voucher"):
    channel_config: _Config
    voucher: _Voucher


class _Deposit(msgspec.Struct):
    amount: str


class _DepositPayload(_Payload, tag="deposit"):
    deposit: _Deposit


class _Identity(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{16,128}\Z")] | None = None


class _Identifier(msgspec.Struct):
    info: _Identity


class _Extensions(msgspec.Struct, rename={"identifier": IDENTIFIER}):
    identifier: _Identifier | None = None


class _Payment(msgspec.Struct, rename="camel"):
    payload: _Payload | _DepositPayload
    extensions: _Extensions | None = None


def _number(text: str) -> int:
    # int() would also take signs, spaces, underscores and the digits of other scripts.
    if not _DIGITS.fullmatch(text):
        raise ValueError("an amount is written in decimal digits")
    return int(text)


def _bytes(text: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise ValueError("not hexadecimal")
    return bytes.fromhex(text.removeprefix("0x"))


def _sized(text: str, size: int) -> bytes:
    value = _bytes(text)
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} belong")
    return value


def parse_config(config: _Config) -> ChannelConfig:
    """Raises ValueError."""
    if not 0 <= config.withdraw_delay <= U40_MAX:
        raise ValueError("withdrawDelay does not fit 40 bits")
    return ChannelConfig(
        _sized(config.payer, 20),
        _sized(config.payer_authorizer, 20),
        _sized(config.receiver, 20),
        _sized(config.receiver_authorizer, 20),
        _sized(config.token, 20),
        config.withdraw_delay,
        _sized(config.salt, 32),
    )


@dataclass(frozen=True, slots=True)
class Payment:
    """A voucher as it came with a request, and maybe a deposit that covers it."""

    config: ChannelConfig
    voucher: Voucher
    signature: bytes
    document: bytes
    """All of it: what a facilitator wants to see."""
    deposit: int | None = None
    payment_id: str | None = None
    """By which the payer asks for the answer again if it loses it."""


def parse_payment(header: str) -> Payment:
    """The voucher in a PAYMENT-SIGNATURE header. Raises PaymentRequired or InvalidSignature."""
    if len(header) > MAX_HEADER_BYTES:
        raise PaymentRequired(f"{SIGNATURE} is over {MAX_HEADER_BYTES} bytes")
    try:
        document = base64.b64decode(header, validate=True)
        read = msgspec.json.decode(document, type=_Payment)
        raw = read.payload
        deposit = _number(raw.deposit.amount) if isinstance(raw, _DepositPayload) else None
        config = parse_config(raw.channel_config)
        amount = _number(raw.voucher.max_claimable_amount)
        voucher = Voucher(_sized(raw.voucher.channel_id, 32), amount)
        signature = _bytes(raw.voucher.signature)
    except (ValueError, OverflowError, RecursionError) as error:
        raise PaymentRequired(f"{SIGNATURE} is not a voucher payment: {error}") from error
    if len(signature) not in (64, 65) or not 0 < amount <= U128_MAX:
        raise InvalidSignature("the voucher's signature or amount has a wrong size")
    compact, name = compact_signature(signature), _payment_id(read.extensions)
    return Payment(config, voucher, compact, document, deposit, name)


def _payment_id(extensions: _Extensions | None) -> str | None:
    if extensions is None or extensions.identifier is None:
        return None
    return extensions.identifier.info.id


def encoded(document: Mapping[str, Any]) -> str:
    """A document as the value of a header."""
    return base64.b64encode(msgspec.json.encode(document)).decode()


def config_json(config: ChannelConfig) -> bytes:
    """The terms as they are kept with a voucher."""
    names = ("payer", "payer_authorizer", "receiver", "receiver_authorizer", "token", "salt")
    fields: dict[str, Any] = {name: getattr(config, name).hex() for name in names}
    return json.dumps(fields | {"withdraw_delay": config.withdraw_delay_s}).encode()


def declared_identifier() -> Mapping[str, Any]:
    """What a 402 says of the extension: ids are taken, and not required."""
    pattern = {"type": "string", "minLength": 16, "maxLength": 128, "pattern": "^[a-zA-Z0-9_-]+$"}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"required": {"type": "boolean"}, "id": pattern},
        "required": ["required"],
    }
    return {IDENTIFIER: {"info": {"required": False}, "schema": schema}}
