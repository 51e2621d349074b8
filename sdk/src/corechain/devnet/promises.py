"""What a local chain learns before services start: who signs receipts, whence a challenger's fees.

anvil sends for its own accounts, so that nothing here signs: `corechain up` stays light.
"""

import time
from collections.abc import Sequence

from corechain.deployment import Deployment
from corechain.devnet.servers import rpc
from corechain.devnet.settings import ADMIN_KEY, CHALLENGER_KEY, RECEIPT_KEY
from corechain.protocol.eip712 import address_word, uint_word
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key

FINAL_BLOCKS = 80
"""More than the 64 behind its head that anvil calls final. A gateway signs for a bond that is."""
MINED_S, POLL_S = 60.0, 0.02
NEVER_ENDS = (1 << 40) - 1
SINCE = 2
"""The place of `since` in a Bond, in words."""
FEES = 100 * 10**18
"""Base units of CORE: the stake of a challenger whose settings name no other."""
CALLS = {
    name.partition("(")[0]: keccak(name.encode())[:4]
    for name in (
        "bondOf(uint16)",
        "receiptSignerUntil(uint16,uint40,address)",
        "nameReceiptSigner(uint16,address)",
        "balanceOf(address)",
        "transfer(address,uint256)",
    )
}


def address_of(key: str) -> bytes:
    return Secp256k1Key(bytes.fromhex(key.removeprefix("0x"))).identity.device


class LocalChain:
    """The contracts of a deployment on an anvil of this machine. Its calls raise OSError, and
    ValueError for what the node or a contract refuses."""

    def __init__(self, url: str, deployment: Deployment) -> None:
        self.url, self.deployment = url, deployment

    def name_signers(self, submitter_keys: Sequence[str], signer_key: str = RECEIPT_KEY) -> None:
        """Each lane's bond answers for receipts of the signer; what is named already stays.
        `submitter_keys`: by lane."""
        signer = address_word(address_of(signer_key))
        for lane, key in enumerate(submitter_keys):
            words = self._words("DataBatches", "bondOf", uint_word(lane))
            since = words[SINCE]
            asked = uint_word(lane) + uint_word(since) + signer
            (until,) = self._words("DataBatches", "receiptSignerUntil", asked)
            if since and until != NEVER_ENDS:
                self._send(key, "DataBatches", "nameReceiptSigner", uint_word(lane) + signer)

    def settle(self) -> None:
        """Makes all that was sent final: this chain has no blocks but for transactions. At each
        start, since anvil forgets the states of before."""
        rpc(self.url, "anvil_mine", hex(FINAL_BLOCKS))

    def fund_challenger(self) -> None:
        """Gives the challenger what its demands may cost, once."""
        challenger = address_word(address_of(CHALLENGER_KEY))
        (held,) = self._words("CoreToken", "balanceOf", challenger)
        if not held:
            self._send(ADMIN_KEY, "CoreToken", "transfer", challenger + uint_word(FEES))

    def _call(self, contract: str, function: str, words: bytes) -> dict[str, str]:
        to = self.deployment.address(contract)
        return {"to": f"0x{to.hex()}", "data": f"0x{(CALLS[function] + words).hex()}"}

    def _words(self, contract: str, function: str, words: bytes) -> list[int]:
        said = rpc(self.url, "eth_call", self._call(contract, function, words), "latest")
        data = bytes.fromhex(str(said).removeprefix("0x"))
        return [int.from_bytes(data[at : at + 32], "big") for at in range(0, len(data), 32)]

    def _send(self, key: str, contract: str, function: str, words: bytes) -> None:
        sender = {"from": f"0x{address_of(key).hex()}"}
        sent = rpc(self.url, "eth_sendTransaction", self._call(contract, function, words) | sender)
        receipt = self._receipt(sent)
        if int(receipt.get("status", "0x0"), 16) != 1:
            raise ValueError(f"{function}: {receipt}")

    def _receipt(self, sent: object) -> dict[str, str]:
        """Empty where there is none in time: a busy machine mines a moment after the answer."""
        end = time.monotonic() + MINED_S
        while time.monotonic() < end:
            found = rpc(self.url, "eth_getTransactionReceipt", sent)
            if found is not None:
                return dict(found)
            time.sleep(POLL_S)
        return {}
