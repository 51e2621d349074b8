"""Sends transactions of people and scripts, on chains of any habits. Blocking.

Services keep a journal of intents instead (the relayer's submitter).
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from corechain.node import (
    AnswerLost,
    ChainUnavailable,
    LogEntry,
    Node,
    NodeRefusal,
    UnfitAnswer,
    log_entry,
    octets,
    quantity,
)
from corechain.process_turns import process_turn
from corechain.protocol.hashing import keccak
from corechain.rpc_errors import TOO_CHEAP, RpcFailure, classify_rpc_failure, may_have_acted
from corechain.sent import Sent, is_void

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

RECEIPT_TIMEOUT_S = 120.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
SEND_TRIES, LOST_PAUSE_S = 3, 0.5
"""Of the same bytes, which a chain takes once, where the node's answer was lost."""
KNOWN_TRIES = 5
GAS_MARGIN_PERCENT = 20
"""Above the estimate: state may change before the transaction runs, and what is not used is not
paid. On a layer 2 the estimate moves with the price of layer 1."""


class TransactionPending(ChainUnavailable):
    """Sent, without a receipt so far, and perhaps without the node's word that it has it. It may
    still be mined: `Chain.again(error.sent)` goes on with it, another call sends another one."""

    def __init__(self, sent: Sent, waited_s: float, doubt: ChainUnavailable | None = None) -> None:
        said = "was sent, but has" if doubt is None else "may have been sent, and has"
        super().__init__(
            f"transaction 0x{sent.hash.hex()} {said} no receipt after {waited_s:g} s; it may "
            "still be mined" + ("" if doubt is None else f" (the node's last word: {doubt})")
        )
        self.sent = sent

    @property
    def transaction(self) -> bytes:
        """Its hash."""
        return self.sent.hash


class GasNotCovered(ChainUnavailable):
    """Nothing was sent: the account holds too little of the chain's currency for the gas."""

    def __init__(self, account: str, what: str) -> None:
        super().__init__(
            f"{account} holds too little of the chain's currency for the gas of {what}: nothing "
            "was sent; give it some, then try again"
        )
        self.account = account


class Receipt(TypedDict):
    """What became of a transaction; names as in the JSON-RPC specification."""

    transactionHash: bytes
    blockNumber: int
    gasUsed: int
    status: int
    logs: list[LogEntry]


def turn_of(account: str, chain_id: int) -> bytes:
    """What processes that send transactions of an account take turns in."""
    return keccak(f"transactions of {account} on {chain_id}".encode())


@dataclass
class Sender:
    """Signs and sends through one node. Threads may share it, and processes of one user its
    account: nonces are taken one by one."""

    node: Node
    receipt_timeout_s: float = RECEIPT_TIMEOUT_S
    send_tries: int = SEND_TRIES
    # By process: a lock that a thread holds at a fork would stay locked in the child.
    _locks: dict[int, threading.Lock] = field(default_factory=dict, repr=False)

    def send(
        self,
        account: "LocalAccount",
        to: bytes,
        data: bytes,
        signed: Callable[[Sent], None] | None = None,
    ) -> Receipt:
        """Returns with the receipt, whatever its status. `signed` hears of the transaction before
        any node does.

        Raises NodeRefusal with the revert data when the call would revert, ChainUnavailable,
        TransactionPending.
        """
        # And one process of this user after the other: two would sign with the same nonce. On this
        # chain alone, which is asked for before: a node that hangs keeps nobody from another one.
        chain_id = self.node.chain_id()
        turn = process_turn(turn_of(account.address, chain_id))
        with self._locks.setdefault(os.getpid(), threading.Lock()), turn:
            sent = _signed(account, self._filled(account.address, to, data, chain_id))
            if signed is not None:
                signed(sent)
            doubt = self._broadcast(sent)
        return self._receipt(sent, doubt)

    def again(self, sent: Sent) -> Receipt | None:
        """The receipt of what was sent before. The same bytes are sent once more, which a chain
        takes once. None where it is never mined: its nonce is spent, in a block that is final.

        Raises ChainUnavailable, TransactionPending.
        """
        found = self._look_for_any(sent)
        if found is not None:
            return found
        if is_void(self.node, sent):
            return None
        try:
            doubt = self._broadcast(sent)
        except ChainUnavailable as error:  # of now; it says nothing of when it was sent first
            doubt = error
        return self._receipt(sent, doubt)

    def _filled(self, sender: str, to: bytes, data: bytes, chain_id: int) -> dict[str, Any]:
        call = {"from": sender, "to": "0x" + to.hex(), "data": "0x" + data.hex()}
        gas = quantity(self._estimate(call), "an estimate of gas")
        return {
            "to": to,
            "data": data,
            "value": 0,
            "nonce": self._nonce(sender),
            "gas": gas + gas * GAS_MARGIN_PERCENT // 100,
            "chainId": chain_id,
            **self.fees(),
        }

    def _estimate(self, call: dict[str, str]) -> Any:
        return self.node.call("eth_estimateGas", call)

    def _nonce(self, sender: str) -> int:
        raw = self.node.call("eth_getTransactionCount", sender, "pending")
        return quantity(raw, "a number of transactions")

    def fees(self) -> dict[str, int]:
        """The fee fields of a transaction: EIP-1559's, or `gasPrice` where blocks have no base fee.

        Raises ChainUnavailable.
        """
        block = self.node.call("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, Mapping):
            raise ChainUnavailable(f"the node sent {block!r:.80} as its latest block")
        base = block.get("baseFeePerGas")
        if base is None:
            return {"gasPrice": self._gas_price()}
        base_fee = quantity(base, "a base fee", 256)
        tip = self._tip(base_fee)
        # Twice the base fee: it may rise by an eighth a block, so this holds for six full blocks.
        return {"maxFeePerGas": 2 * base_fee + tip, "maxPriorityFeePerGas": tip}

    def _gas_price(self) -> int:
        return quantity(self.node.call("eth_gasPrice"), "a gas price", 256)

    def _tip(self, base_fee: int) -> int:
        try:
            raw = self.node.call("eth_maxPriorityFeePerGas")
        except NodeRefusal:
            # Not in the specification of every client; the price holds base fee and tip.
            return max(0, self._gas_price() - base_fee)
        return quantity(raw, "a priority fee", 256)

    def _broadcast(self, sent: Sent) -> ChainUnavailable | None:
        """Returns when the node has it, or, with its last word, may have it: whoever hears of an
        outage then sends again, with another nonce. Raises NodeRefusal, ChainUnavailable: it was
        not sent."""
        doubt: ChainUnavailable | None = None
        for number in range(self.send_tries):
            if number:
                time.sleep(LOST_PAUSE_S)
            try:
                self.node.call("eth_sendRawTransaction", "0x" + sent.raw.hex())
                return None
            except ChainUnavailable as error:
                if self._has(error, sent.hash):
                    return None
                if doubt is None and not _may_have_arrived(error):
                    raise
                doubt = error
                # It has looked at it: what is in the way may be the first of them.
                if isinstance(error, NodeRefusal) and not _may_have_arrived(error):
                    break
        return doubt

    def _has(self, error: ChainUnavailable, transaction: bytes) -> bool:
        """Whether a refusal says that the node has it: we, or something between us and the node,
        may have sent it before."""
        failure = _failure(error)
        known = failure is RpcFailure.ALREADY_KNOWN
        return known or (failure is RpcFailure.NONCE_TOO_LOW and self._may_be_known(transaction))

    def _may_be_known(self, transaction: bytes) -> bool:
        """Unless the node says that it is nowhere, and says so again: of the nodes behind one
        address one may lag. A refusal or an outage does not say so."""
        for number in range(KNOWN_TRIES):
            if number:
                time.sleep(LOST_PAUSE_S)
            try:
                found = self.node.call("eth_getTransactionByHash", "0x" + transaction.hex())
            except ChainUnavailable:
                return True
            if found is not None:
                return True
        return False

    def _receipt(self, sent: Sent, doubt: ChainUnavailable | None) -> Receipt:
        started, pause = time.monotonic(), FIRST_PAUSE_S
        while True:
            found = self._look_for_any(sent)
            if found is not None:
                return found
            if time.monotonic() - started > self.receipt_timeout_s:
                raise TransactionPending(sent, self.receipt_timeout_s, doubt)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _look_for_any(self, sent: Sent) -> Receipt | None:
        looks = map(self._look_for, sent.hashes)
        return next((found for found in looks if found is not None), None)

    def _look_for(self, transaction: bytes) -> Receipt | None:
        try:
            raw = self.node.call("eth_getTransactionReceipt", "0x" + transaction.hex())
            # Null before it is mined; some nodes answer with a receipt that names no block yet.
            if raw is None or (isinstance(raw, Mapping) and raw.get("blockNumber") is None):
                return None
            return _parse_receipt(raw, transaction)
        except ChainUnavailable:
            # It is sent: an outage now, or an odd answer, says nothing about it, so we wait on.
            return None


def _signed(
    account: "LocalAccount", transaction: dict[str, Any], before: Sequence[Sent] = ()
) -> Sent:
    signed = account.sign_transaction(transaction)
    raw, replaces = bytes(signed.raw_transaction), tuple(one.hash for one in before)
    return Sent(bytes(signed.hash), raw, account.address, transaction["nonce"], replaces)


def _failure(error: ChainUnavailable) -> RpcFailure:
    if isinstance(error, NodeRefusal):
        return classify_rpc_failure(error.message)
    return RpcFailure.UNAVAILABLE


def _may_have_arrived(error: ChainUnavailable) -> bool:
    """Whether a node may take what it, or a gateway before it, gave no clear answer to."""
    if isinstance(error, NodeRefusal):
        return may_have_acted(error.code, error.message)
    return isinstance(error, AnswerLost) or (
        isinstance(error, UnfitAnswer) and not error.is_refusal
    )


def _parse_receipt(raw: Any, transaction: bytes) -> Receipt:
    if not isinstance(raw, Mapping):
        raise ChainUnavailable(f"the node sent {raw!r:.80} as a receipt")
    logs = raw.get("logs")
    if not isinstance(logs, list):
        raise ChainUnavailable(f"the node sent {logs!r:.80} as the logs of a receipt")
    if octets(raw.get("transactionHash"), "the transaction of a receipt", 32) != transaction:
        raise ChainUnavailable("the node sent the receipt of another transaction")
    return Receipt(
        transactionHash=transaction,
        blockNumber=quantity(raw["blockNumber"], "the block of a receipt"),
        gasUsed=quantity(raw.get("gasUsed"), "gas used"),
        status=quantity(raw.get("status"), "the status of a receipt"),
        logs=[log_entry(log) for log in logs],
    )


@dataclass
class UrgentSender(Sender):
    """Pays more and more until a transaction is mined: for what has a deadline.

    Every attempt has the nonce of the account's next transaction in a block. So at most one of them
    is mined, and a process that begins anew replaces what an earlier one left in the pool. For an
    account that sends one transaction at a time; fees in wei per gas.
    """

    max_fee: int = 10**13
    send_tries: int = 1
    """Its next attempt comes soon enough."""
    patience_s: float = 15.0
    """How long an attempt may wait for a block: a little more than Ethereum takes for one."""

    def send(
        self,
        account: "LocalAccount",
        to: bytes,
        data: bytes,
        signed: Callable[[Sent], None] | None = None,
    ) -> Receipt:
        """The same as a `Sender`'s; waits `receipt_timeout_s` in all. `signed` hears of the newest
        attempt."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            filled = self._filled(account.address, to, data, self.node.chain_id())
            return self._pressed(account, filled, signed)

    # Not as the pool has it, here and there: what waits in it is to be replaced.

    def _estimate(self, call: dict[str, str]) -> Any:
        return self.node.call("eth_estimateGas", call, "latest")

    def _nonce(self, sender: str) -> int:
        raw = self.node.call("eth_getTransactionCount", sender, "latest")
        return quantity(raw, "a number of transactions")

    def _pressed(
        self,
        account: "LocalAccount",
        transaction: dict[str, Any],
        signed: Callable[[Sent], None] | None,
    ) -> Receipt:
        started, tried = time.monotonic(), list[Sent]()
        fees, doubt = self._within(self.fees()), None
        while True:
            sent = _signed(account, transaction | fees, tried)
            if signed is not None:
                signed(sent)
            refused, doubt = self._offer(sent, tried)
            tried += [sent] if refused is None else []
            left_s = started + self.receipt_timeout_s - time.monotonic()
            found = self._mined(tried, min(left_s, 0 if refused in TOO_CHEAP else self.patience_s))
            if found is not None:
                return found
            if refused is RpcFailure.NONCE_TOO_LOW:
                raise ChainUnavailable("another transaction of the account was mined: look anew")
            dearer = self._within({name: fee * 9 // 8 + 1 for name, fee in fees.items()})
            if left_s <= 0 or (dearer == fees and refused is not None):
                waited_s = time.monotonic() - started
                raise TransactionPending(tried[-1] if tried else sent, waited_s, doubt)
            fees = dearer

    def _within(self, fees: dict[str, int]) -> dict[str, int]:
        return {name: min(fee, self.max_fee) for name, fee in fees.items()}

    def _offer(
        self, sent: Sent, tried: list[Sent]
    ) -> tuple[RpcFailure | None, ChainUnavailable | None]:
        """No failure when the node has it, or may; else that only a higher fee helps, that the
        nonce is spent: perhaps by an earlier attempt, mined while this one was signed, or, of a
        later attempt alone, whatever else it was not taken for: one that was tried may be mined
        yet. With it the node's last word. Raises what `_broadcast` raises."""
        try:
            return None, self._broadcast(sent)
        except ChainUnavailable as error:
            failure = _failure(error)
            if not tried and failure not in (*TOO_CHEAP, RpcFailure.NONCE_TOO_LOW):
                raise
            return failure, error

    def _mined(self, tried: list[Sent], within_s: float) -> Receipt | None:
        until, pause = time.monotonic() + within_s, FIRST_PAUSE_S
        while True:
            found = self._look_for_any(tried[-1]) if tried else None
            if found is not None:
                return found
            if time.monotonic() > until:
                return None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
