"""Signs EIP-1559 transactions. The only place of the relayer that holds an account's key."""

from dataclasses import dataclass

from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain_relayer.submitter.plan import Attempt, Fees, Intent
from corechain_relayer.submitter.rlp import Item, rlp

TYPE = b"\x02"
"""Of a transaction with a priority fee (EIP-2718, EIP-1559)."""
PARITY = 1 << 255
"""EIP-2098 keeps y's parity in the highest bit of s, which is free in a low s."""


@dataclass(frozen=True, slots=True)
class Signer:
    """An account on one chain. Its repr shows the address, never the key."""

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
        """Name of the lock that makes a process the only one to sign with this key."""
        return f"sender:{self.address.hex()}"

    def sign(self, intent: Intent, nonce: int, fees: Fees, gas: int, now: float) -> Attempt:
        """Deterministic: the same fields give the same bytes."""
        fields: list[Item] = [
            self.chain_id,
            nonce,
            fees.priority_fee,
            fees.max_fee,
            gas,
            intent.target,
            0,  # no call of ours carries money
            intent.calldata,
            [],  # no access list: it would cost more than it saves
        ]
        signature = self.key.sign(keccak(TYPE + rlp(fields)))
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        raw = TYPE + rlp([*fields, int(s >= PARITY), r, s % PARITY])
        return Attempt(keccak(raw), nonce, raw, fees, now)
