"""A model chain with forks, one sender, one contract, and pools as the nodes of chains have them.

Empty blocks cost nothing: only what is in blocks, and where forks begin, is kept.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from corechain_relayer.submitter.plan import Attempt, BlockId

FOREIGN = b"foreign"


@dataclass(frozen=True, slots=True)
class Profile:
    """How a chain behaves. Fees in wei per gas."""

    name: str
    block_s: float
    confirmations: int
    """Blocks until one is final."""
    keeps_gaps: bool
    """Whether a node keeps what stands above a missing nonce."""
    pools: bool
    """Whether what is sent waits for a block; else it is in the next one, or refused."""
    min_tip: int
    deepest: int
    """Blocks that a reorg takes at most."""


GETH = Profile("geth", 12.0, 64, True, True, 0, 60)
ARBITRUM = Profile("arbitrum", 0.25, 64, False, False, 0, 8)
POLYGON = Profile("polygon", 2.0, 256, True, True, 30, 200)
ANVIL = Profile("anvil", 1.0, 16, True, True, 0, 12)
ROOM = 4
"""So many times below the base fee, and a pool that is full of others has no room for it."""
PROFILES = (GETH, ARBITRUM, POLYGON, ANVIL)


@dataclass(frozen=True, slots=True)
class Mined:
    tx: Attempt
    payload: bytes
    """What it asks of the contract; FOREIGN or empty for what asks nothing."""
    good: bool
    block: int


@dataclass(frozen=True, slots=True)
class Other:
    """What somebody else has done. `value`: a version, or whatever the contract takes; `due`: a
    deadline in seconds of chain time, 0 where it sets none."""

    block: int
    subject: int
    value: int
    due: int


@dataclass(frozen=True, slots=True)
class Fork:
    """A chain as somebody sees it: blocks up to `head`; `forks`: (first block, number of the fork),
    ascending; `mined`: by nonce."""

    head: int
    forks: tuple[tuple[int, int], ...]
    mined: tuple[Mined, ...]
    others: tuple[Other, ...] = ()
    """What other senders have done, ascending, each in a block of its own."""

    def hash(self, number: int) -> bytes:
        place = bisect_right(self.forks, (number, 1 << 60)) - 1
        return b"block %d of fork %d" % (number, self.forks[place][1])

    def id(self, number: int) -> BlockId:
        return BlockId(number, self.hash(number))

    def count_at(self, number: int) -> int:
        count = len(self.mined)
        while count and self.mined[count - 1].block > number:
            count -= 1
        return count

    def stands(self, block: BlockId) -> bool:
        return block.number <= self.head and self.hash(block.number) == block.hash

    def cut(self, head: int) -> "Fork":
        """As a node sees it that has only the blocks up to `head`."""
        return Fork(head, self.forks, self.mined[: self.count_at(head)], self.others_at(head))

    def others_at(self, number: int) -> tuple[Other, ...]:
        count = len(self.others)
        while count and self.others[count - 1].block > number:
            count -= 1
        return self.others[:count]

    def parts_from(self, other: "Fork") -> int:
        """The first block that another chain has not, or has otherwise, as far as forks go."""
        starts = sorted({first for first, _ in (*self.forks, *other.forks)})
        return next((n for n in starts if self.hash(n) != other.hash(n)), 1 << 60)


@dataclass(slots=True)
class ModelChain:
    """The chain, and the pool of its nodes. `paused`: the contract refuses everything."""

    profile: Profile
    base_fee: int = 100
    now: Fork = Fork(1, ((0, 0),), ())
    pool: dict[int, tuple[Attempt, bytes]] = field(default_factory=dict)
    paused: bool = False
    stalled: bool = False
    final: int = 0
    fork_count: int = 0
    abandoned: Fork | None = None
    """The chain before the last reorg: it may win after all."""
    elsewhere: set[bytes] = field(default_factory=set)
    """What another sender has done, for good."""
    shift_s: int = 0
    """How wrong the blocks' timestamps are."""
    refuses_doubles: bool = False
    """As the real contract does. Off, so that a double is seen: nobody may send any, but who has
    lost the journal."""
    takes: Callable[[bytes, int, Sequence[Mined]], bool] | None = None
    """Whether the contract takes a payload in a block, after what is mined earlier; None: all."""

    def submit(self, tx: Attempt, payload: bytes) -> str:
        """What the node says: empty when it took it. Words of geth, Nitro and bor."""
        mined = self.now.mined
        if tx.nonce < len(mined):
            return f"nonce too low: address 0xab, tx: {tx.nonce} state: {len(mined)}"
        held = self.pool.get(tx.nonce)
        if held is not None:
            if held[0].hash == tx.hash:
                return "already known"
            if tx.fees.max_fee * 10 < held[0].fees.max_fee * 11:
                return "replacement transaction underpriced"
        if tx.fees.priority_fee < self.profile.min_tip:
            return "transaction underpriced: gas tip cap 0, minimum needed 30"
        if self.profile.pools and tx.fees.max_fee * ROOM < self.base_fee:
            return "txpool is full"
        if tx.fees.max_fee < self.base_fee and not self.profile.pools:
            return "max fee per gas less than block base fee"
        if not self.profile.keeps_gaps and self._gap_below(tx.nonce):
            return f"nonce too high: address 0xab, tx: {tx.nonce} state: {len(mined)}"
        self.pool[tx.nonce] = (tx, payload)
        return ""

    def _gap_below(self, nonce: int) -> bool:
        return any(n not in self.pool for n in range(len(self.now.mined), nonce))

    def mine(self, blocks: int) -> int:
        """So many blocks; how many transactions are in them, all in the first."""
        if self.stalled:
            return 0
        head, mined = self.now.head + 1, list(self.now.mined)
        before = len(mined)
        while (found := self.pool.get(len(mined))) and found[0].fees.max_fee >= self.base_fee:
            del self.pool[len(mined)]
            mined.append(self._included(*found, head, mined))
        # The same value where nothing is new: what is made of it is kept by it (duties.py).
        kept = self.now.mined if len(mined) == before else tuple(mined)
        self.now = replace(self.now, head=head + blocks - 1, mined=kept)
        self.final = max(self.final, self.now.head - self.profile.confirmations)
        return len(mined) - before

    def _included(self, tx: Attempt, payload: bytes, block: int, earlier: Sequence[Mined]) -> Mined:
        asks = payload not in (b"", FOREIGN)
        refused = asks and (self.paused or payload in self.elsewhere)
        refused |= asks and self.refuses_doubles and self._is_done(payload, earlier)
        refused |= asks and self.takes is not None and not self.takes(payload, block, earlier)
        return Mined(tx, payload, not refused, block)

    @staticmethod
    def _is_done(payload: bytes, earlier: Sequence[Mined]) -> bool:
        return any(entry.payload == payload and entry.good for entry in earlier)

    def done_elsewhere(self, payload: bytes) -> None:
        """By another sender, in a block that stays."""
        self.elsewhere.add(payload)

    def include_foreign(self, tx: Attempt) -> None:
        """By hand, with a fee that beats ours."""
        self.pool.pop(tx.nonce, None)
        head = self.now.head + 1
        mined = (*self.now.mined, Mined(tx, FOREIGN, True, head))
        self.now = replace(self.now, head=head, mined=mined)
        self.final = max(self.final, head - self.profile.confirmations)

    def include_other(self, subject: int, value: int, due: int) -> None:
        head = self.now.head + 1
        others = (*self.now.others, Other(head, subject, value, due))
        self.now = replace(self.now, head=head, others=others)
        self.final = max(self.final, head - self.profile.confirmations)

    def reorganise(self, depth: int, keep: bool) -> list[Mined]:
        """Other blocks in place of the newest `depth`, empty as yet; what was in them. `keep`: it
        is in the pools again."""
        self.abandoned = self.now
        first = self.now.head - depth + 1
        left = self.now.count_at(first - 1)
        lost = list(self.now.mined[left:])
        self._branch(first, self.now.head + 1, self.now.mined[:left])
        if keep:
            for entry in lost:
                self.pool.setdefault(entry.tx.nonce, (entry.tx, entry.payload))
        return lost

    def _branch(self, first: int, head: int, mined: tuple[Mined, ...]) -> None:
        self.fork_count += 1
        forks = tuple(entry for entry in self.now.forks if entry[0] < first)
        others = self.now.others_at(first - 1)
        self.now = Fork(head, (*forks, (first, self.fork_count)), mined, others)

    def returns(self) -> bool:
        """The chain before the last reorg grows longer and wins; False when it may not any more:
        a block that is final now is not on it."""
        old = self.abandoned
        if (
            old is None
            or old.hash(self.final) != self.now.hash(self.final)
            or old.head < self.final
        ):
            return False
        lost = self.now
        first = old.head + 1
        self.fork_count += 1
        # What is new on it is a fork of its own: numbers of blocks there were given out before.
        forks = (*old.forks, (first, self.fork_count))
        self.now = Fork(max(old.head, self.now.head) + 1, forks, old.mined, old.others)
        self.pool = {n: held for n, held in self.pool.items() if n >= len(old.mined)}
        self.abandoned = lost
        return True

    def save(self) -> dict[str, object]:
        """All of it, to be loaded when a story takes something back."""
        kept = {name: getattr(self, name) for name in self.__slots__}
        return kept | {"pool": dict(self.pool), "elsewhere": set(self.elsewhere)}

    def load(self, saved: dict[str, object]) -> None:
        for name, value in saved.items():
            setattr(self, name, value)

    def timestamp(self, number: int) -> int:
        return int(1_700_000_000 + number * self.profile.block_s) + self.shift_s
