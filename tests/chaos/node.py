"""What the submitter asks of a node, answered by models that lag, lie, refuse and time out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from chaos.chain import FOREIGN, Fork, ModelChain
from chaos.world import MOST_GAS, Violation, World
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Block
from corechain_relayer.submitter.node import Node, NodeLook
from corechain_relayer.submitter.plan import Attempt, BlockId, Fees, Intent, Receipt
from corechain_relayer.submitter.signer import Signer

SENDER = b"\xaa" * 20
SPENT_GAS = 21_000


@dataclass(slots=True)
class Faults:
    """What is wrong with the nodes now. Parts are chances from 0 to 1 for each question."""

    down_until: float = 0.0
    flaky: float = 0.0
    late: float = 0.0
    """Sent and taken, but the answer never comes."""
    lagging: int = 0
    """Blocks that some of the nodes behind the address are behind."""
    split: bool = False
    """Some of the nodes are still on the fork before the last reorg."""
    blind: float = 0.0
    """A receipt is null though the transaction is in a block."""
    swallowing: float = 0.0
    """Said to be taken, and forgotten."""
    refusal: str = ""
    """What the next transaction that is sent is refused with."""
    broke: bool = False
    """The sender cannot pay."""
    spike: int = 1
    """Times what fees are."""


class ModelNode(Node):
    """Any question may go to another node behind the address; what one call asks goes to one."""

    def __init__(self, world: World, chain: ModelChain, max_fee: int, known: "Known") -> None:
        super().__init__(self, chain.profile.confirmations, max_fee, chain.profile.min_tip)  # type: ignore[arg-type]
        self.world, self.chain, self.known = world, chain, known
        self.faults = Faults()
        self.is_paused: Callable[[], bool] = lambda: False
        """Whether an operator wants nothing sent, as of the beginning of the round."""
        self.is_cancelled: Callable[[bytes], bool] = lambda transaction: False
        self.check_sent: Callable[[bytes, Attempt], None] = lambda payload, tx: None
        """Raises Violation for what must not be sent as things stand."""
        self.takes: Callable[[Fork, bytes], bool] | None = None
        """Whether the contract would take a payload on top of a fork."""

    # ------------------------------------------------------------------ whom we reach

    def _reach(self) -> Fork:
        """The chain as the node sees it that answers now. Raises NodeUnavailable."""
        world, faults = self.world, self.faults
        if world.now < faults.down_until:
            world.fault("39 all nodes are down")
            raise NodeUnavailable("connection refused")
        if faults.flaky and world.rng.random() < faults.flaky:
            world.fault("37 a node answers with 429, 5xx or a page")
            raise NodeUnavailable("status 503")
        now = self.chain.now
        if faults.split and self.chain.abandoned is not None and world.rng.random() < 0.4:
            old = self.chain.abandoned
            if old.head >= self.chain.final and old.hash(self.chain.final) == now.hash(
                self.chain.final
            ):
                world.fault("33 a node is still on the other fork")
                return old
        if faults.lagging and world.rng.random() < 0.5:
            head = max(self.chain.final, now.head - faults.lagging)
            if head < now.head:
                world.fault("34 a node is behind the one before it")
                return now.cut(head)
        return now

    def _block(self, fork: Fork, number: int) -> Block:
        parent = fork.hash(number - 1) if number else b""
        time = self.chain.timestamp(number)
        return Block(number, fork.hash(number), parent, time, self.chain.base_fee)

    # ------------------------------------------------------------------ questions

    async def head(self) -> Block:
        """As `Rpc.head`: this model is its own Rpc."""
        fork = self._reach()
        return self._block(fork, fork.head)

    async def look(self, sender: bytes) -> NodeLook:
        fork = self._reach()
        final = min(self.chain.final, fork.head)
        head = self._block(fork, fork.head)
        return NodeLook(head, final, len(fork.mined), self._suggested())

    async def count(self, sender: bytes) -> int:
        return len(self._reach().mined)

    async def pool_count(self, sender: bytes) -> int:
        following = len(self._reach().mined)
        while self.chain.profile.pools and following in self.chain.pool:
            following += 1
        return following

    async def count_at(self, sender: bytes, block: int) -> int | None:
        fork = self._reach()
        if self.world.rng.random() < 0.3:
            self.world.fault("36 a node has no old state")
            return None
        return fork.count_at(block)

    async def receipts(self, hashes: Iterable[bytes]) -> dict[bytes, Receipt]:
        asked = set(hashes)
        if not asked:
            return {}
        fork = self._reach()
        found = {}
        for entry in fork.mined:
            if entry.tx.hash not in asked:
                continue
            if self.faults.blind and self.world.rng.random() < self.faults.blind:
                self.world.fault("35 a receipt is null though it is mined")
                continue
            found[entry.tx.hash] = Receipt(
                entry.tx.hash,
                entry.block,
                fork.hash(entry.block),
                entry.good,
                SPENT_GAS,
                SPENT_GAS * entry.tx.fees.max_fee,
            )
        return found

    async def final_block(self, head: Block) -> int:
        return min(self.chain.final, self._reach().head)

    async def _hashes_are(self, asked: Sequence[BlockId]) -> dict[BlockId, bool]:
        fork = self._reach()
        return {b: fork.hash(b.number) == b.hash for b in asked if b.number <= fork.head}

    async def suggested(self, head: Block) -> Fees:
        return self._suggested()

    def _suggested(self) -> Fees:
        tip = max(1, self.chain.profile.min_tip)
        fee = min(self.max_fee, 2 * self.chain.base_fee + tip)
        return Fees(fee, min(tip, fee))

    async def estimates(self, sender: bytes, intents: Sequence[Intent]) -> list[int | NodeRefused]:
        fork = self._reach()
        return [self._estimate(fork, intent) for intent in intents]

    def _estimate(self, fork: Fork, intent: Intent) -> int | NodeRefused:
        if self.faults.broke:
            self.world.fault("21 the sender cannot pay")
            return NodeRefused("eth_estimateGas", -32000, "insufficient funds for gas * price")
        if self._reverts(fork, intent.calldata):
            self.world.fault("24 an estimate reverts")
            return NodeRefused("eth_estimateGas", 3, "execution reverted")
        return MOST_GAS

    def _reverts(self, fork: Fork, calldata: bytes) -> bool:
        if not calldata:
            return False
        if self.chain.paused or calldata in self.chain.elsewhere:
            return True
        if self.takes is not None:
            return not self.takes(fork, calldata)
        return any(entry.payload == calldata and entry.good for entry in fork.mined)

    async def rehearse(self, sender: bytes, intent: Intent) -> None:
        if self._reverts(self._reach(), intent.calldata):
            raise NodeRefused("eth_call", 3, "execution reverted")

    async def seen(self, transactions: Sequence[bytes]) -> set[bytes]:
        fork = self._reach()
        pooled = {attempt.hash for attempt, _ in self.chain.pool.values()}
        return set(transactions) & (pooled | {entry.tx.hash for entry in fork.mined})

    # ------------------------------------------------------------------ sending

    async def send(self, transactions: Sequence[bytes]) -> list[NodeRefused | None]:
        self._reach()
        answers = []
        for raw in transactions:
            with self.world.effect("send", stored=False):
                answers.append(self._take(raw))
        if self.faults.late and self.world.rng.random() < self.faults.late:
            self.world.fault("16 a send times out and was taken")
            raise NodeUnavailable("no answer within 10 s")
        return answers

    def _take(self, raw: bytes) -> NodeRefused | None:
        attempt, payload = self.known.check_journalled(raw)
        if payload and self.is_paused():
            raise Violation("wishes", f"nonce {attempt.nonce} is sent in a paused queue")
        if payload and self.is_cancelled(attempt.hash):
            raise Violation(
                "wishes", f"nonce {attempt.nonce} is to be cancelled, and its call sent"
            )
        self.check_sent(payload, attempt)
        said, faults = "", self.faults
        if attempt.hash in self.known.invalid:
            said = self.known.invalid[attempt.hash]
        elif faults.refusal and not self.known.was_taken(attempt):
            # That it is invalid is in the bytes: then all nodes say so, at any time.
            said, faults.refusal = faults.refusal, ""
            if "oversized" in said:
                self.known.invalid[attempt.hash] = said
        elif faults.broke:
            said = "insufficient funds for gas * price + value"
        elif faults.swallowing and self.world.rng.random() < faults.swallowing:
            self.world.fault("26 a transaction is dropped silently")
        elif not self.chain.profile.pools and self._reverts(self._reach(), payload):
            self.world.fault("24 a sequencer refuses what would revert")
            said = "execution reverted"
        else:
            said = self.chain.submit(attempt, payload)
        self.world.note("send", attempt.nonce, payload.decode(), said[:28])
        self.known.sent(attempt, payload, said)
        return NodeRefused("eth_sendRawTransaction", -32000, said) if said else None


class Known:
    """All that was ever signed and sent, by raw bytes: the journal is asked whether it has it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.signed: dict[bytes, tuple[Attempt, bytes]] = {}
        self.journalled: set[bytes] = set()
        self.by_nonce: dict[int, list[tuple[Attempt, bytes]]] = {}
        """What a node has taken."""
        self.given_up: set[bytes] = set()
        """Hashes of what was void before a process that was paused sent it all the same."""
        self.sends: dict[bytes, list[float]] = {}
        self.invalid: dict[bytes, str] = {}
        self.underpriced: set[bytes] = set()

    def forget(self) -> None:
        """The journal is lost: its nonces may be used again."""
        self.by_nonce = {}

    def void(self, nonces: Iterable[int]) -> None:
        """What was sent under these is nobody's any more: of answers, which are void at once, it is
        as good as what may come under the nonce after a reorg."""
        for nonce in nonces:
            self.by_nonce.pop(nonce, None)

    def give_up(self, attempts: Sequence[Attempt]) -> None:
        self.void(attempt.nonce for attempt in attempts)
        self.given_up.update(attempt.hash for attempt in attempts)

    def check_journalled(self, raw: bytes) -> tuple[Attempt, bytes]:
        attempt, payload = self.signed[raw]
        if attempt.hash not in self.journalled:
            raise Violation("I4", f"nonce {attempt.nonce} is sent and not in the journal")
        return attempt, payload

    def was_taken(self, attempt: Attempt) -> bool:
        return any(a.hash == attempt.hash for a, _ in self.by_nonce.get(attempt.nonce, ()))

    def sent(self, attempt: Attempt, payload: bytes, said: str) -> None:
        self.sends.setdefault(attempt.hash, []).append(self.world.now)
        if said:
            self._refused(attempt, said, fills=not payload)
            return
        if attempt.hash in self.given_up:
            return
        taken = self.by_nonce.setdefault(attempt.nonce, [])
        taken.append((attempt, payload))
        others = {p for _, p in taken if p and p != FOREIGN}
        if len(others) > 1:
            raise Violation("I6", f"nonce {attempt.nonce} was sent for {sorted(others)}")

    def _refused(self, attempt: Attempt, said: str, fills: bool) -> None:
        # What fills a nonce and is invalid is signed anew, too: nothing else can take its place.
        anew = ("underpriced", "base fee", "intrinsic", *["oversized"] * fills)
        if any(words in said for words in anew):
            self.underpriced.add(attempt.hash)
        for words, name in REFUSALS:
            if words in said:
                self.world.fault(name)


REFUSALS = (
    ("already known", "19 a node knows the transaction"),
    ("nonce too low", "17 a nonce is spent already"),
    ("replacement transaction", "18 a replacement is underpriced"),
    ("gas tip cap", "18 the tip is below the chain's minimum"),
    ("less than block base fee", "18 the fee is below the base fee"),
    ("nonce too high", "20 a node keeps nothing above a gap"),
    ("insufficient funds", "21 the sender cannot pay"),
    ("configured cap", "22 a node's own fee cap"),
    ("txpool is full", "26 a pool has no room for so little"),
    ("intrinsic gas", "23 a limit of gas does not do any more"),
    ("oversized", "23 a node calls the transaction invalid"),
)


class ModelSigner(Signer):
    """Signs by a hash. Checks what every signature must keep to."""

    def __new__(cls, *args: object) -> "ModelSigner":
        return object.__new__(cls)

    def __init__(self, world: World, known: Known, rules: "Rules") -> None:
        for name, value in (("key", None), ("address", SENDER), ("chain_id", 1)):
            object.__setattr__(self, name, value)
        for name, value in (("world", world), ("known", known), ("rules", rules)):
            object.__setattr__(self, name, value)

    def sign(self, intent: Intent, nonce: int, fees: Fees, gas: int, now: float) -> Attempt:
        world: World = self.world  # type: ignore[attr-defined]
        known: Known = self.known  # type: ignore[attr-defined]
        self.rules.check(world, known, intent, nonce, fees)  # type: ignore[attr-defined]
        raw = b"%d %d %d %b" % (nonce, fees.max_fee, fees.priority_fee, intent.calldata)
        attempt = Attempt(raw, nonce, raw, fees, now)
        known.signed[raw] = (attempt, intent.calldata)
        world.note("sign", intent.key, nonce, fees.max_fee)
        return attempt


@dataclass(slots=True)
class Rules:
    """I6, I7, I16 and wishes, of what is signed."""

    cap: int
    bump_after_s: float

    def check(self, world: World, known: Known, intent: Intent, nonce: int, fees: Fees) -> None:
        if fees.max_fee > self.cap or fees.priority_fee > fees.max_fee:
            raise Violation("I7", f"fees {fees} above the cap {self.cap}")
        if intent.cancel is not None and intent.calldata:
            raise Violation("wishes", f"{intent.key} is to be cancelled, and signed for")
        if not intent.attempts:
            return
        newest = intent.attempts[-1]
        if nonce != newest.nonce:
            raise Violation("I6", f"{intent.key} holds nonce {newest.nonce}, signed for {nonce}")
        waited = abs(world.time() - newest.signed_at)
        if (
            intent.wished is None
            and waited < self.bump_after_s
            and newest.hash not in known.underpriced
        ):
            raise Violation("I16", f"{intent.key} is replaced after {waited} s, for nothing")
        for new, old in (
            (fees.max_fee, newest.fees.max_fee),
            (fees.priority_fee, newest.fees.priority_fee),
        ):
            # What cancels may wait at the cap until the pool has dropped the call.
            waits = intent.cancel is not None and fees.max_fee == self.cap
            if new * 10 < old * 11 and not waits:
                raise Violation("I7", f"a replacement of {old} pays {new}: less than a tenth more")
