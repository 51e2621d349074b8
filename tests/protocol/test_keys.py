"""Signatures on both curves: what verifies, and everything else that must not."""

import copy
import pickle

import pytest
from coincurve import PrivateKey
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import HighS, InvalidSignature
from corechain.protocol.keys import (
    DeviceIdentity,
    KeyType,
    P256Key,
    Secp256k1Key,
    device_id,
    recover_signer,
    verify,
)
from corechain.protocol.signature import (
    P256_ORDER,
    SECP256K1_ORDER,
    compact_signature,
    wallet_signature,
)

digests = st.binary(min_size=32, max_size=32)
secrets = st.integers(1, 2**255).map(lambda number: number.to_bytes(32, "big"))
keys = st.one_of(secrets.map(Secp256k1Key), secrets.map(P256Key))


@given(keys, digests)
def test_a_device_verifies_its_own_signature(key, digest):
    verify(key.identity, digest, key.sign(digest))


@given(keys, digests, digests)
def test_a_signature_is_for_one_digest(key, digest, other):
    if digest != other:
        with pytest.raises(InvalidSignature):
            verify(key.identity, other, key.sign(digest))


@given(keys, digests, st.integers(0, 511))
def test_a_flipped_bit_is_refused(key, digest, bit):
    signature = bytearray(key.sign(digest))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises((InvalidSignature, HighS)):
        verify(key.identity, digest, bytes(signature))


@given(secrets, digests)
def test_an_ethereum_account_is_a_device(secret, digest):
    account = Account.from_key(secret)
    signed = account.unsafe_sign_hash(digest)
    assert Secp256k1Key(secret).identity.device.hex() == account.address[2:].lower()
    verify(Secp256k1Key(secret).identity, digest, compact_signature(bytes(signed.signature)))


@given(secrets, digests)
def test_wallet_and_compact_form_are_the_same_signature(secret, digest):
    signature = Secp256k1Key(secret).sign(digest)
    assert compact_signature(wallet_signature(signature)) == signature


@given(secrets, digests)
def test_the_high_s_twin_is_refused_on_secp256k1(secret, digest):
    wallet = wallet_signature(Secp256k1Key(secret).sign(digest))
    s = SECP256K1_ORDER - int.from_bytes(wallet[32:64], "big")
    twin = wallet[:32] + s.to_bytes(32, "big") + bytes([55 - wallet[64]])
    with pytest.raises(HighS):
        compact_signature(twin)


@given(secrets, digests)
def test_the_high_s_twin_is_refused_on_p256(secret, digest):
    key = P256Key(secret)
    signature = key.sign(digest)
    s = P256_ORDER - int.from_bytes(signature[32:], "big")
    with pytest.raises(HighS):
        verify(key.identity, digest, signature[:32] + s.to_bytes(32, "big"))


@given(secrets, digests)
def test_the_other_parity_is_not_a_second_encoding(secret, digest):
    key = Secp256k1Key(secret)
    signature = bytearray(key.sign(digest))
    signature[32] ^= 0x80
    with pytest.raises(InvalidSignature):
        verify(key.identity, digest, bytes(signature))


@pytest.mark.parametrize("v", [0, 1, 26, 29, 37, 38, 255])
def test_only_27_and_28_are_taken_for_v(v):
    wallet = wallet_signature(Secp256k1Key(bytes(31) + b"\x01").sign(bytes(32)))
    with pytest.raises(InvalidSignature):
        compact_signature(wallet[:64] + bytes([v]))


@pytest.mark.parametrize("r", [0, SECP256K1_ORDER, 2**256 - 1])
def test_r_must_be_a_scalar(r):
    signature = r.to_bytes(32, "big") + (1).to_bytes(32, "big")
    with pytest.raises(InvalidSignature):
        recover_signer(bytes(32), signature)


def test_a_key_that_is_not_on_the_curve_is_refused():
    public = bytes(63) + b"\x05"
    identity = DeviceIdentity(device_id(public), KeyType.P256, public)
    with pytest.raises(InvalidSignature):
        verify(identity, bytes(32), (1).to_bytes(32, "big") * 2)


def test_a_p256_device_needs_the_key_of_its_id():
    key, other = P256Key(bytes(31) + b"\x01"), P256Key(bytes(31) + b"\x02")
    mixed = DeviceIdentity(key.identity.device, KeyType.P256, other.identity.public_key)
    with pytest.raises(InvalidSignature):
        verify(mixed, bytes(32), other.sign(bytes(32)))


@given(keys)
def test_a_key_never_shows_its_secret(key):
    assert key.secret.hex() not in repr(key)
    assert str(int.from_bytes(key.secret, "big")) not in repr(key) or key.secret[:16] == bytes(16)


def test_what_is_computed_from_a_secret_is_computed_once_a_key(monkeypatch):
    made = []

    def counted(secret):
        made.append(secret)
        return PrivateKey(secret)

    monkeypatch.setattr("corechain.protocol.keys.PrivateKey", counted)
    key = Secp256k1Key(bytes(31) + b"\x07")
    for number in range(3):
        key.sign(number.to_bytes(32, "big"))
    verify(key.identity, bytes(32), key.sign(bytes(32)))
    assert made == [key.secret]


@given(keys, digests)
def test_a_key_that_has_signed_goes_to_another_process_and_is_the_same(key, digest):
    signature = key.sign(digest)
    there = pickle.loads(pickle.dumps(key))
    assert (there, hash(there), type(there)) == (key, hash(key), type(key))
    assert there == copy.deepcopy(key) == type(key)(key.secret)
    assert there.sign(digest) == signature
