"""Packed redemptions: every voucher is in the bytes once, in a form that the contract knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.channel import NOBODY, ChannelConfig
from corechain.protocol.redemption import (
    AS_AUTHORIZER,
    AS_BOTH,
    AS_RECEIVER,
    MalformedRows,
    Redemption,
    pack_redemptions,
    redeemed_totals,
)

CALLER, OTHER, TOKEN, KEY = (bytes([n]) * 20 for n in (1, 2, 3, 4))
ROLES = {AS_BOTH: (CALLER, CALLER), AS_RECEIVER: (CALLER, OTHER), AS_AUTHORIZER: (OTHER, CALLER)}
SALTS = st.integers(0, 2**64).map(lambda n: n.to_bytes(32, "big")) | st.binary(
    min_size=32, max_size=32
)


@st.composite
def redemptions(draw):
    payer = draw(st.binary(min_size=20, max_size=20).filter(any))
    authorizer = draw(st.sampled_from([payer, KEY, NOBODY]))
    receiver, receiver_authorizer = ROLES[draw(st.sampled_from(sorted(ROLES)))]
    delay, salt = draw(st.integers(900, 2_592_000)), draw(SALTS)
    config = ChannelConfig(payer, authorizer, receiver, receiver_authorizer, TOKEN, delay, salt)
    signature = bytes([7]) * (draw(st.integers(0, 200)) if authorizer == NOBODY else 64)
    return Redemption(config, draw(st.integers(1, 2**96 - 1)), signature)


def unpacked(groups):
    """The layout of docs/protocol.md, read by the letter."""
    at = 0

    def take(size):
        nonlocal at
        at += size
        assert at <= len(groups)
        return groups[at - size : at]

    while at < len(groups):
        form, salts, amounts = take(3)
        count, delay, token = (int.from_bytes(take(n), "big") for n in (2, 3, 20))
        kind, role = form & 3, form >> 2
        other = take(20) if role else CALLER
        receiver, authorizer = {0: (CALLER, CALLER), 1: (CALLER, other), 2: (other, CALLER)}[role]
        for _ in range(count):
            payer = take(20)
            key = {0: lambda p=payer: p, 1: lambda: take(20), 2: lambda: NOBODY}[kind]()
            salt, amount = take(salts).rjust(32, b"\0"), int.from_bytes(take(amounts), "big")
            signature = take(int.from_bytes(take(2), "big") if kind == 2 else 64)
            place = token.to_bytes(20, "big")
            config = ChannelConfig(payer, key, receiver, authorizer, place, delay, salt)
            yield config, amount, signature


@given(st.lists(redemptions(), min_size=1, max_size=12))
def test_every_voucher_is_in_the_bytes_once(rows):
    found = sorted(unpacked(pack_redemptions(rows, CALLER)), key=repr)
    assert found == sorted(((r.config, r.amount, r.signature) for r in rows), key=repr)


@given(redemptions())
def test_only_the_receivers_side_can_pack_them(row):
    with pytest.raises(MalformedRows):
        pack_redemptions([row], b"\x09" * 20)


@pytest.mark.parametrize("amount", [0, -1, 2**128])
def test_an_amount_that_no_voucher_has_is_refused(amount):
    config = ChannelConfig(KEY, KEY, CALLER, CALLER, TOKEN, 900, bytes(32))
    with pytest.raises(MalformedRows):
        pack_redemptions([Redemption(config, amount, bytes(64))], CALLER)


def test_the_log_tells_channel_and_total():
    words = [bytes([5]) * 20 + (9).to_bytes(12, "big")]
    assert list(redeemed_totals(words)) == [(bytes([5]) * 20, 9)]
