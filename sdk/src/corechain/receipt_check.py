"""Whether the chain stands behind a receipt: a bond, a signer who was named, a time to wait for."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from corechain.node import quantity
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import ProtocolError
from corechain.protocol.receipts import (
    Receipt,
    ReceiptUnsecured,
    SignedReceipt,
    UnknownReceiptSigner,
    batches_domain,
)
from corechain.receipts import KeptReceipt, ReceiptOutOfRange

if TYPE_CHECKING:
    from corechain.reader import ChainReader

FOREVER = 1 << 40
KEPT_S = 30.0
"""What the chain said counts so long: a receipt a frame comes, and names change rarely."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a receipt: `word` says it in a few words; `is_good` where a bond answers
    for it, now or later. `demandable_until` in chain seconds."""

    signer: bytes
    word: str
    is_good: bool
    demandable_until: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of a (lane, bond, signer): until when it may sign (0: never), whether the bond
    answers for receipts, from when on it may be withdrawn (0: its lane is open), the chain's time,
    and the moment of the look."""

    until: int
    is_bonded: bool
    ends: int
    now: int
    at: float


@dataclass
class ReceiptChecks:
    """Asks the contracts of one deployment, each thing once in KEPT_S. Threads may share it."""

    chain: "ChainReader"
    clock: Callable[[], float] = time.monotonic
    _kept: dict[tuple[int, int, bytes], _Seen] = field(default_factory=dict)

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
        seen = self._seen(receipt, signer)
        # A bond that is being withdrawn: what was promised before that leaves half a window to ask.
        _require_answerable(receipt, signer, seen, self.window_s // 2)
        # Half a window: later than that no honest gateway promises; and a promise of long ago ends
        # before anybody has noticed.
        most_s = self.window_s // 2
        now = seen.now + int(self.clock() - seen.at)
        if abs(receipt.commit_by - now) > most_s:
            raise ReceiptOutOfRange(receipt.commit_by, now, most_s)

    def standing(self, kept: KeptReceipt) -> Standing:
        """Of a receipt in a file, however old. Raises InvalidProof, HighS, InvalidSignature where
        it is none of its report, ChainUnavailable, WrongChain."""
        signer, receipt = kept.signer(self.domain), kept.proof.signed.receipt
        seen = self._asked(receipt.lane, receipt.since, signer)
        until = min(receipt.commit_by + self.window_s, seen.ends - 1 if seen.ends else FOREVER)
        try:
            _require_answerable(receipt, signer, seen)
        except ProtocolError as error:
            return Standing(signer, f"{error.name}: {error}", False, until)
        if seen.now > until:
            return Standing(signer, "its time is over", False, until)
        is_due = seen.now > receipt.commit_by
        word = "can be demanded now" if is_due else "promised"
        return Standing(signer, word, True, until)

    def _seen(self, receipt: Receipt, signer: bytes) -> _Seen:
        key = receipt.lane, receipt.since, signer
        known = self._kept.get(key)
        if known is None or self.clock() - known.at > KEPT_S:
            known = self._kept[key] = self._asked(*key)
        return known

    def _asked(self, lane: int, since: int, signer: bytes) -> _Seen:
        at, ask = self.clock(), self.chain.call
        head = self.chain.node.call("eth_getBlockByNumber", "latest", False)
        raw = head.get("timestamp") if isinstance(head, dict) else None
        bond = ask("DataBatches", "bondOf", lane)
        until = ask("DataBatches", "receiptSignerUntil", lane, since, signer)
        # Of a lane that the admin has closed the bond stands for a while, and answers for none.
        is_assigned = int(str(ask("DataBatches", "assigneeOf", lane)), 16) != 0
        is_bonded = is_assigned and int(bond[1]) > 0 and int(bond[2]) == since
        now = quantity(raw, "a block's time", 40)
        return _Seen(int(until), is_bonded, int(bond[3]), now, at)


def _require_answerable(receipt: Receipt, signer: bytes, seen: _Seen, spare_s: int = 1) -> None:
    """`spare_s`: so long before a closed lane's bond may go a demand must be possible. Raises
    ReceiptUnsecured, UnknownReceiptSigner."""
    ends_first = 0 < seen.ends <= receipt.commit_by + spare_s
    if not seen.is_bonded or ends_first:
        raise ReceiptUnsecured(receipt.lane, receipt.since)
    if receipt.commit_by > seen.until:
        raise UnknownReceiptSigner(receipt.lane, receipt.since, signer)
