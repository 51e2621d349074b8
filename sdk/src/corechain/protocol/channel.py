"""Payment channels (one-way, x402 `batch-settlement`) and state channels (two-way)."""

from dataclasses import dataclass
from typing import Self

from corechain.protocol.eip712 import Domain, address_word, uint_word
from corechain.protocol.errors import (
    InvalidSignature,
    PaymentRequired,
    VoucherMiscounted,
    VoucherRegressed,
)
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import recover_signer

CHANNEL_CONFIG_TYPE = (
    b"ChannelConfig(address payer,address payerAuthorizer,address receiver,"
    b"address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
)
VOUCHER_TYPE = b"Voucher(bytes32 channelId,uint128 maxClaimableAmount)"
CHANNEL_STATE_TYPE = b"ChannelState(bytes32 channelId,uint40 version,uint88 balanceA)"
CHANNEL_CLOSE_TYPE = b"ChannelClose(bytes32 channelId,uint88 balanceA)"
CHANNEL_OPENING_TYPE = b"ChannelOpening(bytes32 channelId,uint88 amountA,uint88 amountB)"
CHANNEL_TOP_UP_TYPE = (
    b"ChannelTopUp(bytes32 channelId,uint40 version,uint88 balanceA,uint88 deposit)"
)
MIN_WITHDRAW_DELAY_S, MAX_WITHDRAW_DELAY_S = 900, 2_592_000
NOBODY = bytes(20)

_CONFIG_TYPEHASH = keccak(CHANNEL_CONFIG_TYPE)
_VOUCHER_TYPEHASH = keccak(VOUCHER_TYPE)
_STATE_TYPEHASH = keccak(CHANNEL_STATE_TYPE)
_CLOSE_TYPEHASH = keccak(CHANNEL_CLOSE_TYPE)
_OPENING_TYPEHASH = keccak(CHANNEL_OPENING_TYPE)
_TOP_UP_TYPEHASH = keccak(CHANNEL_TOP_UP_TYPE)


def payment_domain(chain_id: int, payment_channels: bytes) -> Domain:
    return Domain("x402 Batch Settlement", "1", chain_id, payment_channels)


def state_domain(chain_id: int, state_channels: bytes) -> Domain:
    return Domain("CoreChain State Channels", "1", chain_id, state_channels)


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """The immutable terms of a payment channel; their EIP-712 hash is its id."""

    payer: bytes
    payer_authorizer: bytes
    receiver: bytes
    receiver_authorizer: bytes
    token: bytes
    withdraw_delay_s: int
    salt: bytes

    def channel_id(self, domain: Domain) -> bytes:
        return domain.digest(
            keccak(
                _CONFIG_TYPEHASH
                + address_word(self.payer)
                + address_word(self.payer_authorizer)
                + address_word(self.receiver)
                + address_word(self.receiver_authorizer)
                + address_word(self.token)
                + uint_word(self.withdraw_delay_s)
                + self.salt
            )
        )

    @property
    def voucher_signer(self) -> bytes:
        """Who signs vouchers: the authorizer, or the payer itself when there is none."""
        return self.payer if self.payer_authorizer == NOBODY else self.payer_authorizer


@dataclass(frozen=True, slots=True)
class Voucher:
    """A promise of up to `amount` base units in total (cumulative) from a channel."""

    channel_id: bytes
    amount: int

    def digest(self, domain: Domain) -> bytes:
        return domain.digest(keccak(_VOUCHER_TYPEHASH + self.channel_id + uint_word(self.amount)))


def check_voucher(
    domain: Domain,
    config: ChannelConfig,
    voucher: Voucher,
    signature: bytes,
    *,
    deposit: int,
    held: int,
    due: int,
) -> None:
    """Whether a voucher pays: `held` is the newest amount stored, `due` what must be covered now.

    Raises InvalidSignature, HighS, VoucherRegressed, VoucherMiscounted (too small), PaymentRequired
    (more than the deposit).
    """
    if voucher.channel_id != config.channel_id(domain):
        raise InvalidSignature("the voucher is for another channel")
    if recover_signer(voucher.digest(domain), signature) != config.voucher_signer:
        raise InvalidSignature("the voucher is not signed by the channel's payer")
    if voucher.amount <= held:
        raise VoucherRegressed(held, voucher.amount)
    if voucher.amount < due:
        raise VoucherMiscounted(due, voucher.amount)
    if voucher.amount > deposit:
        # Of the deposit, what its payer has begun to withdraw covers nothing.
        raise PaymentRequired(
            f"the voucher for {voucher.amount} exceeds the deposit {deposit}, without what is "
            "being withdrawn: deposit more, or open another channel"
        )


@dataclass(frozen=True, slots=True)
class StateChannel:
    """The immutable terms of a two-way channel. Times in seconds; it opens until `open_before`.
    The salt (5 bytes) tells channels apart whose other terms are the same."""

    party_a: bytes
    party_b: bytes
    token: bytes
    challenge_period_s: int
    open_before: int
    salt: bytes

    def pack(self) -> bytes:
        """74 bytes: what is hashed, told and sent in packed calls."""
        return (
            self.party_a
            + self.party_b
            + self.token
            + self.challenge_period_s.to_bytes(4, "big")
            + self.open_before.to_bytes(5, "big")
            + self.salt
        )

    def pack_as_sent_by(self, sender: bytes) -> bytes:
        """As packed calls take them: a byte that says which party is the sender, then the rest."""
        if sender == self.party_a:
            return b"\x01" + self.pack()[20:]
        if sender == self.party_b:
            return b"\x02" + self.pack()[:20] + self.pack()[40:]
        return b"\x00" + self.pack()

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Of 74 bytes."""
        a, b, token, salt = packed[:20], packed[20:40], packed[40:60], packed[69:74]
        period, until = (int.from_bytes(field, "big") for field in (packed[60:64], packed[64:69]))
        return cls(a, b, token, period, until, salt)

    def channel_id(self, chain_id: int, state_channels: bytes) -> bytes:
        return keccak(uint_word(chain_id) + state_channels + self.pack())


@dataclass(frozen=True, slots=True)
class ChannelState:
    """Balances at a version; party B holds the rest of the deposit. The newest version wins."""

    channel_id: bytes
    version: int
    balance_a: int

    def digest(self, domain: Domain) -> bytes:
        return domain.digest(
            keccak(
                _STATE_TYPEHASH
                + self.channel_id
                + uint_word(self.version)
                + uint_word(self.balance_a)
            )
        )


def close_digest(domain: Domain, channel_id: bytes, balance_a: int) -> bytes:
    """What both parties sign to close at once: a type of its own, so no state passes as a close."""
    return domain.digest(keccak(_CLOSE_TYPEHASH + channel_id + uint_word(balance_a)))


def opening_digest(domain: Domain, channel_id: bytes, amount_a: int, amount_b: int) -> bytes:
    """What a party signs to have its deposit drawn by allowance."""
    return domain.digest(
        keccak(_OPENING_TYPEHASH + channel_id + uint_word(amount_a) + uint_word(amount_b))
    )


def authorisation_nonce(channel_id: bytes, amount_a: int, amount_b: int) -> bytes:
    """The EIP-3009 nonce of a deposit: consent to the terms and to both deposits."""
    return keccak(channel_id + uint_word(amount_a) + uint_word(amount_b))


def top_up_digest(domain: Domain, state: ChannelState, deposit: int) -> bytes:
    """What both parties sign for a newer state that comes with tokens; `deposit` is the new one."""
    words = uint_word(state.version) + uint_word(state.balance_a) + uint_word(deposit)
    return domain.digest(keccak(_TOP_UP_TYPEHASH + state.channel_id + words))
