"""A chain with one sender, one pool and one contract, for the tests of the submitter's plan."""

from dataclasses import dataclass, field

from corechain_relayer.submitter.plan import Attempt, BlockId, ChainView, Fees, Intent, Receipt

FOREIGN, NOTHING = b"foreign", b"nothing"


@dataclass
class ModelChain:
    """One sender. A block holds transactions in nonce order, each with whether it succeeded. As on
    our contracts, a thing that is done already reverts when it is done again."""

    base_fee: int = 10
    blocks: list[list[tuple[Attempt, bool]]] = field(default_factory=lambda: [[]])
    fork: int = 0
    pool: dict[int, Attempt] = field(default_factory=dict)
    refusing: bool = False
    strict: bool = False
    """The node keeps nothing above a missing nonce."""

    @property
    def mined(self) -> list[tuple[Attempt, bool]]:
        return [entry for block in self.blocks for entry in block]

    @property
    def done(self) -> list[bytes]:
        """What our contract has taken, in order."""
        return [tx.raw for tx, good in self.mined if good and tx.raw not in (FOREIGN, NOTHING)]

    @property
    def pool_count(self) -> int:
        """The sender's next nonce behind what is in blocks and, without a gap, in the pool."""
        following = len(self.mined)
        while following in self.pool:
            following += 1
        return following

    def submit(self, tx: Attempt) -> str:
        if tx.nonce < len(self.mined):
            return "nonce too low"
        held = self.pool.get(tx.nonce)
        if held is not None and held.hash == tx.hash:
            return "already known"
        if held is not None and tx.fees.max_fee * 10 < held.fees.max_fee * 11:
            return "replacement transaction underpriced"
        if tx.fees.max_fee < self.base_fee:
            return "max fee per gas less than block base fee"
        if self.strict and any(n not in self.pool for n in range(len(self.mined), tx.nonce)):
            return "nonce too high"
        self.pool[tx.nonce] = tx
        return "accepted"

    def mine(self) -> None:
        self.blocks.append([])
        following = len(self.mined)
        while (tx := self.pool.get(following)) and tx.fees.max_fee >= self.base_fee:
            del self.pool[following]
            self.include(tx)
            following += 1

    def include(self, tx: Attempt) -> None:
        good = tx.raw in (FOREIGN, NOTHING) or (tx.raw not in self.done and not self.refusing)
        self.blocks[-1].append((tx, good))

    def reorganise(self, depth: int, keep: bool) -> None:
        lost = [tx for block in self.blocks[-depth:] for tx, _ in block]
        del self.blocks[-depth:]
        self.fork += 1
        self.pool = {tx.nonce: tx for tx in lost} if keep else {}
        self.blocks += [[] for _ in range(depth)]

    def count_at(self, number: int) -> int:
        return sum(len(block) for block in self.blocks[: number + 1])

    def id(self, number: int) -> BlockId:
        return BlockId(number, self.hashes[number])

    @property
    def hashes(self) -> list[bytes]:
        """A block's hash says all that is before it."""
        found: list[bytes] = []
        for number, block in enumerate(self.blocks):
            content = (number, self.fork if number else 0, tuple(tx.hash for tx, _ in block))
            parent = found[-1] if found else b""
            found.append(str(hash((parent, content))).encode())
        return found

    def view(self, final: int, intents: list[Intent], has_state: bool) -> ChainView:
        hashes = self.hashes
        receipts = {
            tx.hash: Receipt(tx.hash, number, hashes[number], good, 1)
            for number, block in enumerate(self.blocks)
            for tx, good in block
        }
        head = BlockId(len(self.blocks) - 1, hashes[-1])
        marks = [i.spent for i in intents if i.spent is not None and i.spent.number <= head.number]
        standing = {mark: hashes[mark.number] == mark.hash for mark in marks}
        suggested = Fees(2 * self.base_fee + 1, 1)
        final_count = self.count_at(final) if has_state else None
        count = len(self.mined)
        return ChainView(head, final, count, receipts, suggested, final_count, standing)

    def stands(self, block: BlockId) -> bool:
        hashes = self.hashes
        return block.number < len(hashes) and hashes[block.number] == block.hash
