"""Paying for queries: x402 v2 headers with vouchers of a `batch-settlement` channel. Pure.

Source: x402 specification, scheme batch-settlement on EVM (header names, camelCase JSON in base64).
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corechain.protocol.channel import ChannelConfig, Voucher, payment_domain
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import PaymentRequired
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.signature import wallet_signature

PAYMENT_REQUIRED = "PAYMENT-REQUIRED"
PAYMENT_SIGNATURE = "PAYMENT-SIGNATURE"
PAYMENT_RESPONSE = "PAYMENT-RESPONSE"
SCHEME = "batch-settlement"


def encode_header(document: Mapping[str, Any]) -> str:
    return base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()


def decode_header(text: str) -> dict[str, Any]:
    """Raises PaymentRequired when the header is not base64 JSON."""
    try:
        document = json.loads(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise PaymentRequired(f"not an x402 header: {error}") from error
    if not isinstance(document, dict):
        raise PaymentRequired("an x402 header holds a JSON object")
    return document


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _config_json(config: ChannelConfig) -> dict[str, Any]:
    return {
        "payer": _hex(config.payer),
        "payerAuthorizer": _hex(config.payer_authorizer),
        "receiver": _hex(config.receiver),
        "receiverAuthorizer": _hex(config.receiver_authorizer),
        "token": _hex(config.token),
        "withdrawDelay": config.withdraw_delay_s,
        "salt": _hex(config.salt),
    }


@dataclass(frozen=True, slots=True)
class Price:
    """What a server asks: the accepted requirement as it stood, and its amount in base units."""

    requirement: Mapping[str, Any]
    amount: int
    receiver: bytes


def parse_price(headers: Mapping[str, str], chain_id: int) -> Price:
    """The `batch-settlement` offer of a 402 answer. Raises PaymentRequired when there is none."""
    document = decode_header(headers.get(PAYMENT_REQUIRED.lower(), ""))
    for offer in document.get("accepts", ()):
        if offer.get("scheme") == SCHEME and offer.get("network") == f"eip155:{chain_id}":
            receiver = bytes.fromhex(str(offer["payTo"]).removeprefix("0x"))
            return Price(offer, int(offer["amount"]), receiver)
    raise PaymentRequired(f"the server takes no {SCHEME} payment on chain {chain_id}")


@dataclass(slots=True)
class PaymentChannel:
    """The payer's end of a channel: signs one cumulative voucher after the other.

    `spent` is the total promised so far, in base units of the channel's token.
    """

    config: ChannelConfig
    domain: Domain
    key: Secp256k1Key
    deposit: int
    spent: int = 0

    @property
    def channel_id(self) -> bytes:
        return self.config.channel_id(self.domain)

    def pay(self, price: Price) -> str:
        """The PAYMENT-SIGNATURE header for one more query. Raises PaymentRequired when empty."""
        if price.receiver != self.config.receiver:
            raise PaymentRequired("the channel pays another receiver than the one that asks")
        if self.spent + price.amount > self.deposit:
            raise PaymentRequired(f"the channel holds {self.deposit}, {self.spent} is spent")
        self.spent += price.amount
        return encode_header(self._payload(price, self.spent))

    def _payload(self, price: Price, amount: int) -> dict[str, Any]:
        voucher = Voucher(self.channel_id, amount)
        signature = wallet_signature(self.key.sign(voucher.digest(self.domain)))
        return {
            "x402Version": 2,
            "accepted": price.requirement,
            "payload": {
                "type": "voucher",
                "channelConfig": _config_json(self.config),
                "voucher": {
                    "channelId": _hex(voucher.channel_id),
                    "maxClaimableAmount": str(amount),
                    "signature": _hex(signature),
                },
            },
        }


def channel_to(
    receiver: bytes,
    key: Secp256k1Key,
    *,
    token: bytes,
    chain_id: int,
    payment_channels: bytes,
    withdraw_delay_s: int,
    salt: bytes,
) -> PaymentChannel:
    """An unfunded channel from the key's account to a receiver. Open it on chain before paying."""
    payer = key.identity.device
    config = ChannelConfig(payer, payer, receiver, receiver, token, withdraw_delay_s, salt)
    return PaymentChannel(config, payment_domain(chain_id, payment_channels), key, 0)
