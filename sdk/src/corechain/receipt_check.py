"""Whether the chain stands behind a receipt: a bond, a signer who was named, a time to wait for."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from corechain.node import quantity
from corechain.protocol.eip712 import Domain
from corechain.protocol.receipts import (
    Receipt,
    ReceiptUnsecured,
    SignedReceipt,
    UnknownReceiptSigner,
    batches_domain,
)
from corechain.receipts import ReceiptOutOfRange

if TYPE_CHECKING:
    from corechain.reader import ChainReader

KEPT_S = 30.0
"""What the chain said counts so long: a receipt a frame comes, and names change rarely."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """What was seen of a (lane, bond, signer): until when it may sign (0: never), the chain's time,
    and the moment of the look."""

    until: int
    is_bonded: bool
    now: int
    at: float


@dataclass
class ReceiptChecks:
    """Asks the contracts of one deployment, each thing once in KEPT_S. Threads may share it."""

    chain: "ChainReader"
    clock: Callable[[], float] = time.monotonic
    _kept: dict[tuple[int, int, bytes], _Standing] = field(default_factory=dict)

    @cached_property
    def domain(self) -> Domain:
        deployment = self.chain.deployment
        return batches_domain(deployment.chain_id, deployment.address("DataBatches"))

    @cached_property
    def window_s(self) -> int:
        """How long a batch can be challenged, and a receipt's report be demanded: seconds."""
        return int(self.chain.call("DataBatches", "challengeWindow"))

    def check(self, receipts: Sequence[SignedReceipt]) -> None:
        """Raises HighS, InvalidSignature, UnknownReceiptSigner, ReceiptUnsecured,
        ReceiptOutOfRange, ChainUnavailable, WrongChain."""
        for signed in receipts:
            self._check(signed.receipt, signed.signer(self.domain))

    def _check(self, receipt: Receipt, signer: bytes) -> None:
        standing = self._standing(receipt, signer)
        if not standing.is_bonded:
            raise ReceiptUnsecured(receipt.lane, receipt.since)
        if receipt.commit_by > standing.until:
            raise UnknownReceiptSigner(receipt.lane, receipt.since, signer)
        # Half a window: later than that no honest gateway promises; and a promise of long ago ends
        # before anybody has noticed.
        most_s = self.window_s // 2
        now = standing.now + int(self.clock() - standing.at)
        if abs(receipt.commit_by - now) > most_s:
            raise ReceiptOutOfRange(receipt.commit_by, now, most_s)

    def _standing(self, receipt: Receipt, signer: bytes) -> _Standing:
        key = receipt.lane, receipt.since, signer
        known = self._kept.get(key)
        if known is None or self.clock() - known.at > KEPT_S:
            known = self._kept[key] = self._asked(*key)
        return known

    def _asked(self, lane: int, since: int, signer: bytes) -> _Standing:
        at, ask = self.clock(), self.chain.call
        head = self.chain.node.call("eth_getBlockByNumber", "latest", False)
        raw = head.get("timestamp") if isinstance(head, dict) else None
        bond = ask("DataBatches", "bondOf", lane)
        until = ask("DataBatches", "receiptSignerUntil", lane, since, signer)
        is_bonded = int(bond[1]) > 0 and int(bond[2]) == since
        return _Standing(int(until), is_bonded, quantity(raw, "a block's time", 40), at)
