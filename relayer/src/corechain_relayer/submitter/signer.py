"""Signs EIP-1559 transactions. The only place of the relayer that holds an account's key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain_relayer.submitter.plan import Attempt, Fees, Intent
from corechain_relayer.submitter.rlp import Item, rlp

TYPE = b"\x02"
"""Of a transaction with a priority fee (EIP-2718, EIP-1559)."""
PARITY = 1 << 255
"""EIP-2098 keeps y's parity in the highest bit of s, which is free in a low s."""


class Account(Protocol):
    """An account on one chain that signs, wherever its key is."""

    @property
    def address(self) -> bytes: ...

    @property
    def chain_id(self) -> int: ...

    @property
    def lock(self) -> str:
        """Name of the lock that makes a process the only one to sign with this key."""

    async def signed(self, call: Intent, nonce: int, fees: Fees, gas: int, now: float) -> Attempt:
        """A transaction that does the call. Raises SignerFailed where the key is elsewhere."""


def lock_of(address: bytes) -> str:
    return f"sender:{address.hex()}"


def fields_of(chain_id: int, call: Intent, nonce: int, fees: Fees, gas: int) -> list[Item]:
    """What is signed of a transaction, in the order of EIP-1559."""
    return [
        chain_id,
        nonce,
        fees.priority_fee,
        fees.max_fee,
        gas,
        call.target,
        0,  # no call of ours carries money
        call.calldata,
        [],  # no access list: it would cost more than it saves
    ]


def payload_of(fields: Sequence[Item]) -> bytes:
    """The bytes whose digest is signed."""
    return TYPE + rlp([*fields])


def attempt_of(
    fields: Sequence[Item], signature: bytes, nonce: int, fees: Fees, now: float
) -> Attempt:
    """The transaction with its signature, 64 bytes as of EIP-2098."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    raw = TYPE + rlp([*fields, int(s >= PARITY), r, s % PARITY])
    return Attempt(keccak(raw), nonce, raw, fees, now)


@dataclass(frozen=True, slots=True)
class Signer:
    """An account whose key is here. Its repr shows the address, never the key."""

    key: Secp256k1Key
    address: bytes
    chain_id: int

    @classmethod
    def of(cls, secret: str, chain_id: int) -> "Signer":
        """`secret`: 32 bytes as hexadecimal digits. Raises InvalidValue."""
        key = Secp256k1Key(bytes.fromhex(secret.removeprefix("0x")))
        # A device's id is made as an address is: the last 20 bytes of the public key's hash.
        return cls(key, bytes(key.identity.device), chain_id)

    def __repr__(self) -> str:
        return f"Signer(0x{self.address.hex()})"

    @property
    def lock(self) -> str:
        return lock_of(self.address)

    def sign(self, intent: Intent, nonce: int, fees: Fees, gas: int, now: float) -> Attempt:
        """Deterministic: the same fields give the same bytes."""
        fields = fields_of(self.chain_id, intent, nonce, fees, gas)
        signature = self.key.sign(keccak(payload_of(fields)))
        return attempt_of(fields, signature, nonce, fees, now)

    async def signed(self, call: Intent, nonce: int, fees: Fees, gas: int, now: float) -> Attempt:
        return self.sign(call, nonce, fees, gas, now)
