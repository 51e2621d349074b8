"""What rewards and their token must do, in Python only: the oracle of CoreToken.

Everybody has a name here; no hash, key or ABI.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from support.evm import ENDLESS, Refused

BPS = 10_000
PROPOSER, GUARDIAN = "proposer", "guardian"


@dataclass(frozen=True, slots=True)
class Root:
    """Cumulative amounts, and when they begin to count. `amounts` is never written to."""

    epoch: int
    active_at: int
    amounts: Mapping[str, int]

    def __deepcopy__(self, memo: object) -> "Root":
        return self


@dataclass(frozen=True, slots=True)
class Row:
    """A claim with a proof from a tree of these amounts; `forged` when a byte of it is not."""

    owner: str
    cumulative: int
    tree: Mapping[str, int]
    forged: bool = False

    def stands_in(self, root: Root | None) -> bool:
        if root is None or self.forged or root.amounts != self.tree:
            return False
        return root.amounts[self.owner] == self.cumulative


@dataclass(frozen=True, slots=True)
class Authorisation:
    """EIP-3009, as the payer's hand has signed it (or another's)."""

    payer: str
    to: str
    amount: int
    valid_after: int
    valid_before: int
    nonce: int
    hand: str


@dataclass
class RewardModel:
    cap: int
    fee_bps: int
    window_s: int
    now: int
    balances: defaultdict[str, int]
    claimed: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    minted: int = 0
    """By rewards."""
    counting: list[Root] = field(default_factory=list)
    """The newest two that left their window, newest last; a waiting one takes the place of one."""
    waiting: Root | None = None
    allowances: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    permits: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    spent: set[tuple[str, int]] = field(default_factory=set)
    """(Who, nonce) of authorisations that were used or cancelled."""

    def refuse(self, name: str, *values: object) -> None:
        raise Refused(name, *values)

    def pass_to(self, now: int) -> None:
        self.now = now
        if self.waiting is not None and now >= self.waiting.active_at:
            self.counting.append(self.waiting)
            self.waiting = None

    @property
    def newest(self) -> Root | None:
        return self.counting[-1] if self.counting else None

    @property
    def next_epoch(self) -> int:
        last = self.waiting or self.newest
        return last.epoch + 1 if last else 1

    # ------------------------------------------------------------------------------------- roots

    def propose(self, sender: str, epoch: int, amounts: Mapping[str, int] | None, emission: int):
        if sender != PROPOSER:
            raise Refused("NotPermitted", PROPOSER, sender)
        if amounts is None:
            raise Refused("ZeroRoot")
        if emission > self.cap:
            raise Refused("EmissionOverCap", self.cap, emission)
        # What is not even of the other parity cannot be the one after the root that waits.
        if self.waiting is not None and (epoch - self.waiting.epoch) % 2:
            raise Refused("RootWaiting", self.waiting.active_at)
        if epoch != self.next_epoch:
            raise Refused("WrongEpoch", self.next_epoch, epoch)
        self.counting = self.counting[-1:]
        self.waiting = Root(epoch, self.now + self.window_s, amounts)

    def veto(self, sender: str, epoch: int) -> None:
        if sender != GUARDIAN:
            raise Refused("NotPermitted", GUARDIAN, sender)
        if self.waiting is None or self.waiting.epoch != epoch:
            raise Refused("NothingToVeto")
        self.waiting = None

    # ------------------------------------------------------------------------------------- claims

    def claim(self, row: Row) -> None:
        amount = self._due(row)
        if not row.stands_in(self.newest):
            raise Refused("InvalidProof")
        self._mint(amount, self.newest)
        self._count(row, amount)

    def claim_many(self, sender: str, rows: Sequence[Row], minimum: int) -> int:
        """How many were paid. Its sender gets a part of each amount, rounded down."""
        fees = paid = 0
        for row in rows:
            amount = row.cumulative - self.claimed[row.owner]
            worth = amount > 0 and minimum <= amount <= self._limit(self.newest) - self.minted
            if worth and row.stands_in(self.newest):
                fee = amount * self.fee_bps // BPS
                self.minted += amount
                self._count(row, amount)
                self.balances[row.owner] -= fee
                fees, paid = fees + fee, paid + 1
        self.balances[sender] += fees
        return paid

    def _due(self, row: Row) -> int:
        claimed = self.claimed[row.owner]
        if row.cumulative <= claimed:
            raise Refused("NothingToClaim", claimed, row.cumulative)
        return row.cumulative - claimed

    def _limit(self, root: Root | None) -> int:
        return self.cap * root.epoch if root else 0

    def _mint(self, amount: int, root: Root | None) -> None:
        self.minted += amount
        if self.minted > self._limit(root):
            raise Refused("EmissionExhausted", self._limit(root), self.minted)

    def _count(self, row: Row, amount: int) -> None:
        self.claimed[row.owner] += amount
        self.balances[row.owner] += amount

    # ---------------------------------------------------------------------------------- transfers

    def transfer(self, sender: str, to: str, amount: int) -> None:
        if to == "nobody":
            raise Refused("ZeroReceiver")
        if amount > self.balances[sender]:
            raise Refused("InsufficientBalance", sender, self.balances[sender], amount)
        self.balances[sender] -= amount
        self.balances[to] += amount

    def transfer_from(self, spender: str, payer: str, to: str, amount: int) -> None:
        allowed = self.allowances[payer, spender]
        if allowed != ENDLESS:
            if amount > allowed:
                raise Refused("InsufficientAllowance", spender, allowed, amount)
            self.allowances[payer, spender] -= amount
        self.transfer(payer, to, amount)

    def permit(self, owner: str, spender: str, amount: int, nonce: int, deadline: int, hand: str):
        if self.now > deadline:
            raise Refused("Expired", deadline)
        if hand != owner or nonce != self.permits[owner]:
            raise Refused("InvalidSignature")
        self.permits[owner] += 1
        self.allowances[owner, spender] = amount

    def use(self, paper: Authorisation) -> None:
        if self.now <= paper.valid_after:
            raise Refused("NotYetValid", paper.valid_after)
        if self.now >= paper.valid_before:
            raise Refused("Expired", paper.valid_before)
        self._use_up(paper)
        self.transfer(paper.payer, paper.to, paper.amount)

    def cancel(self, paper: Authorisation) -> None:
        self._use_up(paper)

    def _use_up(self, paper: Authorisation) -> None:
        if (paper.payer, paper.nonce) in self.spent:
            raise Refused("AuthorizationSpent", paper.payer, paper.nonce.to_bytes(32))
        if paper.hand != paper.payer:
            raise Refused("InvalidSignature")
        self.spent.add((paper.payer, paper.nonce))
