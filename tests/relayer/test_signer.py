"""Transactions are signed as others sign them.

given any key, call, nonce, fees and chain
  the signed bytes, their hash and the address are those of eth-account
given any bytes, numbers and lists of such
  their RLP is what others read as the same
given a signer
  its repr shows the address, not the key
given what is no key
  it is refused, and not shown
"""

from typing import Any

import pytest
import rlp as others
from eth_account import Account
from hypothesis import example, given
from hypothesis import strategies as st

from corechain.protocol.errors import InvalidValue
from corechain.protocol.signature import SECP256K1_ORDER
from corechain_relayer.submitter.plan import Fees, Intent
from corechain_relayer.submitter.rlp import gas_limit, rlp
from corechain_relayer.submitter.signer import Signer

keys = st.integers(1, SECP256K1_ORDER - 1).map(lambda number: f"0x{number:064x}")
fees = st.integers(0, 2**96)
# Lengths on both sides of 55 and 255 bytes, where the prefix grows.
calls = st.binary(max_size=300)


@given(
    secret=keys,
    chain_id=st.integers(1, 2**53),
    target=st.binary(min_size=20, max_size=20),
    call=calls,
    nonce=st.integers(0, 2**63),
    bids=st.tuples(fees, fees),
    gas=st.integers(21_000, 2**40),
)
def test_a_transaction_is_signed_as_others_sign_it(
    secret: str,
    chain_id: int,
    target: bytes,
    call: bytes,
    nonce: int,
    bids: tuple[int, int],
    gas: int,
) -> None:
    account, signer = Account.from_key(secret), Signer.of(secret, chain_id)
    assert signer.address == bytes.fromhex(account.address[2:])
    attempt = signer.sign(Intent(1, "batch:1", target, call), nonce, Fees(*bids), gas, 1.5)
    assert gas_limit(attempt.raw) == gas
    expected = account.sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "to": target,
            "value": 0,
            "data": call,
            "gas": gas,
            "maxFeePerGas": Fees(*bids).max_fee,
            "maxPriorityFeePerGas": Fees(*bids).priority_fee,
        }
    )
    assert attempt.raw == bytes(expected.raw_transaction)
    assert attempt.hash == bytes(expected.hash)
    assert (attempt.nonce, attempt.fees, attempt.signed_at) == (nonce, Fees(*bids), 1.5)


items = st.recursive(
    st.binary(max_size=70), lambda inner: st.lists(inner, max_size=6), max_leaves=9
)


@given(items)
@example(bytes(55))
@example(bytes(56))
@example(bytes(256))
@example(bytes(70_000))
@example([bytes(9)] * 7)
def test_what_is_written_is_read_as_the_same(item: Any) -> None:
    assert others.decode(rlp(item)) == item
    assert rlp(item) == others.encode(item)


@given(st.integers(0, 2**256 - 1))
@example(0)
@example(127)
@example(128)
def test_a_number_has_no_leading_zeros(number: int) -> None:
    assert rlp(number) == others.encode(number)


def test_its_repr_shows_the_address_alone() -> None:
    secret = "0x" + 31 * "00" + "01"
    assert repr(Signer.of(secret, 1)) == "Signer(0x7e5f4552091a69125d5dfcb7b8c2659029395bdf)"


@pytest.mark.parametrize("secret", ["0x" + 32 * "00", "0x" + 32 * "ff", "0x1234"])
def test_what_is_no_key_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        Signer.of(secret, 1)
    assert secret[2:] not in str(refused.value)
