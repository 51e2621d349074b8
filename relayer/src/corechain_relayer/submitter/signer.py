"""Signs EIP-1559 transactions. The only place of the relayer that holds an account's key."""

from dataclasses import dataclass

from eth_account import Account
from eth_account.signers.local import LocalAccount

from corechain_relayer.submitter.plan import Attempt, Fees, Intent


@dataclass(frozen=True, slots=True)
class Signer:
    """An account on one chain. Its repr shows the address, never the key."""

    account: LocalAccount
    chain_id: int

    @classmethod
    def of(cls, secret: str, chain_id: int) -> "Signer":
        return cls(Account.from_key(secret), chain_id)

    def __repr__(self) -> str:
        return f"Signer({self.account.address})"

    @property
    def address(self) -> bytes:
        return bytes.fromhex(self.account.address[2:])

    @property
    def lock(self) -> str:
        """Name of the lock that makes a process the only one to sign with this key."""
        return f"sender:{self.address.hex()}"

    def sign(self, intent: Intent, nonce: int, fees: Fees, gas: int, now: float) -> Attempt:
        """Deterministic: the same fields give the same bytes."""
        signed = self.account.sign_transaction(
            {
                "type": 2,
                "chainId": self.chain_id,
                "nonce": nonce,
                "to": intent.target,
                "value": 0,
                "data": intent.calldata,
                "gas": gas,
                "maxFeePerGas": fees.max_fee,
                "maxPriorityFeePerGas": fees.priority_fee,
            }
        )
        return Attempt(bytes(signed.hash), nonce, bytes(signed.raw_transaction), fees, now)
