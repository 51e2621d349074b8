"""Shapes of what the API answers about channels. Amounts are base units, as text."""

import msgspec


class PaymentChannel(msgspec.Struct, frozen=True, tag_field="kind", tag="payment"):
    channel_id: str
    payer: str
    payer_authorizer: str
    receiver: str
    receiver_authorizer: str
    token: str
    withdraw_delay: int
    salt: str
    balance: str
    claimed: str
    block: int


class PaymentChannels(msgspec.Struct, frozen=True):
    items: list[PaymentChannel]
    next_cursor: str | None


class StateChannel(msgspec.Struct, frozen=True, tag_field="kind", tag="state"):
    channel_id: str
    party_a: str
    party_b: str
    token: str
    challenge_period: int
    open_before: int
    salt: str
    state: str
    deposit: str
    balance_a: str
    version: int
    deadline: int
    block: int


class StateChannels(msgspec.Struct, frozen=True):
    items: list[StateChannel]
    next_cursor: str | None
