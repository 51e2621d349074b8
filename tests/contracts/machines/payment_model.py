"""What one-way channels must do, in Python only: the oracle of PaymentChannels.

Everybody has a name here; no hash, key or ABI.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from support.evm import Refused

MAX_AMOUNT = 2**128 - 1
OVERFLOW = 0x11
OWN, STRANGE, ELSEWHERE = "whom the terms name", "a stranger", "the right one, for another channel"
MIN_DELAY_S, MAX_DELAY_S = 900, 2_592_000


@dataclass(frozen=True, slots=True)
class Terms:
    """Who is in a channel. `authorizer` signs its vouchers; without one the payer does."""

    payer: str
    authorizer: str | None
    receiver: str
    clerk: str
    token: str
    delay_s: int
    salt: int = 0

    def __deepcopy__(self, memo: object) -> "Terms":
        return self

    @property
    def payer_side(self) -> set[str | None]:
        return {self.payer, self.authorizer}

    @property
    def receiver_side(self) -> set[str]:
        return {self.receiver, self.clerk}

    @property
    def ledger(self) -> tuple[str, str]:
        return self.receiver, self.token


@dataclass(frozen=True, slots=True)
class Row:
    """A voucher as it is claimed. `hand` says whose signature it bears."""

    channel: int
    ceiling: int
    claimed: int
    hand: str = OWN

    @property
    def whole(self) -> "Row":
        """Claimed to its ceiling."""
        return replace(self, claimed=self.ceiling)

    @property
    def signed(self) -> bool:
        return self.hand == OWN


@dataclass
class Book:
    """What became of a channel's money."""

    terms: Terms
    deposited: int = 0
    returned: int = 0
    claimed: int = 0
    pending: tuple[int, int] | None = None
    """Amount and second of the payer's notice."""
    refunds: int = 0

    @property
    def kept(self) -> int:
        """Deposits that did not go back; claims are of these."""
        return self.deposited - self.returned

    @property
    def free(self) -> int:
        return self.kept - self.claimed


@dataclass
class Packed:
    """What became of the rows of a packed redemption, as (channel, amount)."""

    redeemed: list[tuple[int, int]] = field(default_factory=list)
    refused: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass
class PaymentModel:
    books: list[Book]
    purses: defaultdict[tuple[str, str], int]
    """(Who, token) → tokens outside the contract."""
    now: int
    earned: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    """(Receiver, token) → claimed to be settled later, ever."""
    settled: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def refuse(self, name: str, *values: object) -> None:
        raise Refused(name, *values)

    # ---------------------------------------------------------------------------------- deposits

    def open(self, sender: str, channel: int, amount: int) -> None:
        book = self.books[channel]
        if amount == 0:
            raise Refused("ZeroDeposit")
        if book.kept + amount > MAX_AMOUNT:
            raise Refused("DepositOverflow")
        if amount > self.purses[sender, book.terms.token]:
            raise Refused("TransferFailed", book.terms.token)
        book.deposited += amount
        self.purses[sender, book.terms.token] -= amount

    # ------------------------------------------------------------------------------------ claims

    def claim(self, sender: str, rows: Sequence[Row]) -> None:
        _require_some(rows)
        for row in rows:
            if sender not in self.books[row.channel].terms.receiver_side:
                raise Refused("NotAuthorizedToClaim")
            self._claim(row)

    def claim_signed(self, signer: str, rows: Sequence[Row]) -> None:
        _require_some(rows)
        clerk = self.books[rows[0].channel].terms.clerk
        if signer != clerk:
            raise Refused("InvalidSignature")
        for row in rows:
            if self.books[row.channel].terms.clerk != clerk:
                raise Refused("NotReceiverAuthorizer")
            self._claim(row)

    def _claim(self, row: Row) -> None:
        book = self.books[row.channel]
        if row.claimed <= book.claimed:
            return
        if row.claimed > row.ceiling:
            raise Refused("ClaimExceedsCeiling")
        self._require_voucher(row)
        added = row.claimed - book.claimed
        book.claimed = row.claimed
        self.earned[book.terms.ledger] += added
        if self.earned[book.terms.ledger] > MAX_AMOUNT:
            raise Refused("Panic", OVERFLOW)

    def settle(self, receiver: str, token: str) -> None:
        ledger = receiver, token
        self.purses[ledger] += self.earned[ledger] - self.settled[ledger]
        self.settled[ledger] = self.earned[ledger]

    # ----------------------------------------------------------------------- claims paid at once

    def redeem(self, sender: str, rows: Sequence[Row]) -> None:
        _require_some(rows)
        for row in rows:
            book = self.books[row.channel]
            if sender not in book.terms.receiver_side:
                raise Refused("NotAuthorizedToClaim")
            if row.ceiling <= book.claimed:
                raise Refused("VoucherRegressed", book.claimed, row.ceiling)
            self._require_voucher(row)
            self._pay(row)

    def redeem_packed(self, rows: Sequence[Row]) -> Packed:
        """By the receiver's side of all rows: another sender cannot even write them down."""
        _require_some(rows)
        packed = Packed()
        for row in rows:
            if row.ceiling <= self.books[row.channel].claimed:
                continue
            try:
                self._require_voucher(row, signature_first=True)
            except Refused as refused:
                packed.refused.append((row.channel, row.ceiling, refused.name))
            else:
                packed.redeemed.append((row.channel, row.ceiling))
                self._pay(row)
        return packed

    def _require_voucher(self, row: Row, signature_first: bool = False) -> None:
        covered = row.claimed <= self.books[row.channel].kept
        wrong = []
        if not covered:
            wrong.append("ClaimExceedsBalance")
        if not row.signed:
            wrong.append("InvalidSignature")
        if wrong:
            raise Refused(wrong[-1 if signature_first else 0])

    def _pay(self, row: Row) -> None:
        book = self.books[row.channel]
        self.purses[book.terms.ledger] += row.ceiling - book.claimed
        book.claimed = row.ceiling

    # ----------------------------------------------------------------------- back to the payer

    def initiate(self, sender: str, channel: int, amount: int) -> None:
        book = self.books[channel]
        if sender not in book.terms.payer_side:
            raise Refused("InvalidChannel")
        if amount == 0:
            raise Refused("NothingToWithdraw")
        if book.pending is not None:
            raise Refused("WithdrawalAlreadyPending")
        if amount > book.free:
            raise Refused("WithdrawAmountExceedsAvailable")
        book.pending = amount, self.now

    def finalize(self, sender: str, channel: int) -> None:
        book = self.books[channel]
        if sender not in book.terms.payer_side:
            raise Refused("NotAuthorizedToFinalizeWithdraw")
        if book.pending is None:
            raise Refused("WithdrawalNotPending")
        amount, since = book.pending
        if self.now < since + book.terms.delay_s:
            raise Refused("WithdrawDelayNotElapsed")
        book.pending = None
        self._return(book, min(amount, book.free))

    def refund(self, sender: str, channel: int, amount: int) -> None:
        book = self.books[channel]
        if sender not in book.terms.receiver_side:
            raise Refused("NotAuthorizedToRefund")
        self._refund(book, amount)

    def refund_signed(self, signer: str, channel: int, amount: int, nonce: int) -> None:
        book = self.books[channel]
        if nonce != book.refunds:
            raise Refused("InvalidRefundNonce")
        if signer != book.terms.clerk:
            raise Refused("InvalidSignature")
        self._refund(book, amount)

    def _refund(self, book: Book, amount: int) -> None:
        if amount == 0:
            raise Refused("ZeroRefund")
        book.refunds += 1
        refunded = min(amount, book.free)
        self._return(book, refunded)
        if book.pending is not None and refunded > 0:
            rest = book.pending[0] - refunded
            book.pending = (rest, book.pending[1]) if rest > 0 else None

    def _return(self, book: Book, amount: int) -> None:
        book.returned += amount
        self.purses[book.terms.payer, book.terms.token] += amount


def _require_some(rows: Sequence[Row]) -> None:
    if not rows:
        raise Refused("EmptyBatch")
