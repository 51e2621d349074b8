"""Transactions of people and scripts to the contracts of one deployment. Blocking."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from corechain.contracts import Reverted, function_of
from corechain.node import NodeRefusal
from corechain.protocol.errors import InvalidValue
from corechain.protocol.values import one_of
from corechain.reader import ChainReader
from corechain.rpc_errors import RpcFailure, classify_rpc_failure
from corechain.sent import Sent
from corechain.transactions import GasNotCovered, Receipt, Sender, UrgentSender

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


def require_account(account: object) -> None:
    if not hasattr(account, "address") or not hasattr(account, "sign_transaction"):
        right = "takes an account that signs; account_from_key makes one"
        raise InvalidValue("account", account, right)


@dataclass
class ChainWriter(ChainReader):
    """Sends what `Chain` names: any function of a contract of the deployment."""

    _sender: Sender = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sender = Sender(self._node)

    def in_a_hurry(self, max_fee: int, within_s: float) -> Self:
        """The same contracts; each transaction is replaced at a higher fee until it is mined, up to
        `max_fee` wei per gas, and TransactionPending after so many seconds. For one that sends
        alone with its account."""
        hurried = replace(self)
        hurried._sender = UrgentSender(hurried._node, within_s, max_fee=max_fee)
        return hurried

    def send(
        self, account: "LocalAccount", contract: str, function: str, *arguments: object
    ) -> Receipt:
        """A transaction, waited for. Raises the contract's error by its own name, InvalidValue for
        arguments that do not fit, TransactionPending when it was sent and is not mined,
        GasNotCovered when the account cannot pay for it.

        For people and scripts. Services keep a journal of intents instead (relayer's submitter).
        """
        called = function_of(contract, function, len(arguments))
        return self._send(account, contract, function, called.encode(arguments))

    def send_packed(
        self, account: "LocalAccount", contract: str, function: str, packed: bytes
    ) -> Receipt:
        """The same for a function that reads packed bytes behind its selector (no arguments)."""
        given = one_of("packed", packed, bytes, "takes packed bytes")
        data = function_of(contract, function, 0).selector + given
        return self._send(account, contract, function, data)

    def again(self, sent: Sent) -> Receipt | None:
        """Goes on with what a TransactionPending has left (`error.sent`), by the same bytes, which
        the chain takes once. Its receipt, whatever the status; None where it is never mined: its
        nonce is spent by another one, and that is final.

        Raises ChainUnavailable, TransactionPending.
        """
        _ = self.node
        return self._sender.again(one_of("sent", sent, Sent, "takes what error.sent was"))

    def _send(
        self,
        account: "LocalAccount",
        contract: str,
        function: str,
        data: bytes,
        signed: Callable[[Sent], None] | None = None,
    ) -> Receipt:
        to = self.deployment.address(contract)
        return self._send_to(account, to, f"{contract}.{function}", data, signed)

    def _send_to(
        self,
        account: "LocalAccount",
        to: bytes,
        what: str,
        data: bytes,
        signed: Callable[[Sent], None] | None = None,
    ) -> Receipt:
        require_account(account)
        _ = self.node  # on the right chain: else a transaction would pay for nothing
        try:
            receipt = self._sender.send(account, to, data, signed)
        except NodeRefusal as refusal:
            if classify_rpc_failure(refusal.message) is RpcFailure.INSUFFICIENT_FUNDS:
                raise GasNotCovered(account.address, what) from refusal
            raise self._reverted(refusal) from refusal
        if receipt["status"] != 1:
            raise Reverted(f"{what} in transaction 0x{receipt['transactionHash'].hex()}")
        return receipt
