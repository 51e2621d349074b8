"""Makes a frame's tree and signs its root: CPU alone, so a thread may do it."""

from dataclasses import dataclass

from corechain.deployment import Deployment
from corechain.protocol.eip712 import Domain
from corechain.protocol.frame import Columns
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.receipts import Receipt, batches_domain
from corechain.protocol.roots import hash_slices, merkle_levels
from corechain_relayer.receipts.keeper import Terms


@dataclass(frozen=True, slots=True)
class ReceiptSigner:
    """The key that the lanes' submitters have named, and where its signatures are good."""

    key: Secp256k1Key
    domain: Domain

    @classmethod
    def of(cls, key: Secp256k1Key, deployment: Deployment) -> "ReceiptSigner":
        return cls(key, batches_domain(deployment.chain_id, deployment.address("DataBatches")))

    @property
    def address(self) -> bytes:
        # A device's id is made as an address is: the last 20 bytes of the public key's hash.
        return bytes(self.key.identity.device)

    def sign(self, columns: Columns, terms: Terms) -> tuple[bytes, list[bytes]]:
        """The signed receipt of these reports, packed (106 bytes), and the levels of their tree
        (`merkle_levels`)."""
        levels = merkle_levels(hash_slices(columns.packed, columns.starts))
        receipt = Receipt(terms.lane, terms.since, terms.commit_by, levels[-1], len(columns))
        return receipt.pack() + self.key.sign(receipt.digest(self.domain)), levels
