"""How large a window grows and how old, where the settings do not say: as the chain allows.

Three limits of a lane, each for good and not for a while:

* Blocks. No more batches than may wait for a block (`RELAYER_NONCES_IN_FLIGHT`) are committed in
  one, so a window is at least that share of a block's time old.
* The ring. The contract keeps 8,192 words a lane for a challenge window: a lane that seals faster
  waits behind its own batches after one lap (`submitter/ring.py`).
* Proofs. Whoever shows that a statistics root is wrong goes down one level a demand, and each may
  take an answer window: a batch with more levels than that could not be refuted in time.
"""

from dataclasses import dataclass, replace

from corechain.deployment import Deployment
from corechain.protocol.batch import RING_SIZE
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Questions
from corechain_relayer.calldata import selector
from corechain_relayer.settings import Settings

LEAST_AGE_S = 10.0
"""On a fast chain with a short challenge window: a commit costs gas, however few readings are in
it."""
MOST_AGE_S = 600.0
"""A chain that stands still, or a clock that was set, makes no reading wait for hours."""
MOST_READINGS = 1 << 18
"""24,800 readings/s where the ring takes a batch every 10.5 s (a challenge window of a day); two
windows of so many, one that is sealed and one that collects, are 0.3 GB of memory."""
RING_SHARE = 0.95
"""So much of the ring is used: late commits, and a full window now and then, find room."""
BLOCKS = 128
"""The block time is an average over so many: a single gap says nothing where slots stay empty."""
CHALLENGE_WINDOW, ANSWER_WINDOW = selector("challengeWindow()"), selector("answerWindow()")


@dataclass(frozen=True, slots=True)
class ChainPace:
    """What a chain and our contracts on it allow, in seconds."""

    block_time_s: float
    challenge_window_s: int
    answer_window_s: int
    promise_s: int = 0
    """Of receipts, where the lane's gateways sign any."""

    @property
    def kept_s(self) -> int:
        """How long the ring has to keep a batch."""
        if not self.promise_s:
            return self.challenge_window_s
        # A receipt's report is demanded for a challenge window after its time, and answered from
        # what is in the ring.
        return self.promise_s + self.challenge_window_s + self.answer_window_s


@dataclass(frozen=True, slots=True)
class Pace:
    """A window is due with so many readings, or at this age."""

    max_readings: int
    max_age_s: float


def pace_of(chain: ChainPace, in_flight: int) -> Pace:
    """The pace that a lane can keep for good, with so many commits in flight."""
    block_s = chain.block_time_s / in_flight
    ring_s = chain.kept_s / (RING_SIZE * RING_SHARE)
    # The challenge itself comes after the last answer, so one round is no level.
    levels = max(0, chain.challenge_window_s // chain.answer_window_s - 1)
    age_s = min(MOST_AGE_S, max(LEAST_AGE_S, block_s, ring_s))
    return Pace(min(MOST_READINGS, 1 << min(levels, 32)), age_s)


async def chain_pace(rpc: Questions, deployment: Deployment) -> ChainPace:
    """Raises NodeUnavailable, NodeRefused."""
    contract = deployment.address("DataBatches")
    windows = [await _seconds(rpc, contract, call) for call in (CHALLENGE_WINDOW, ANSWER_WINDOW)]
    return ChainPace(await _block_time_s(rpc), *windows)


async def _seconds(rpc: Questions, contract: bytes, call: bytes) -> int:
    word = await rpc.eth_call(contract, call)
    if len(word) != 32 or not any(word):
        raise NodeUnavailable(f"0x{word.hex()} is no number of seconds")
    return int.from_bytes(word, "big")


async def _block_time_s(rpc: Questions) -> float:
    """0 for a chain that has only begun."""
    head = await rpc.head()
    first = await rpc.block(max(0, head.number - BLOCKS))
    if first is None or first.number >= head.number:
        return 0.0
    return max(0, head.timestamp - first.timestamp) / (head.number - first.number)


async def pace_for(settings: Settings, rpc: Questions, deployment: Deployment) -> Pace:
    """What the settings say, and what the chain allows where they say nothing. Raises
    NodeUnavailable, NodeRefused where the chain is asked."""
    readings, age_s = settings.max_readings, settings.max_age_s
    if readings is not None and age_s is not None:
        return Pace(readings, age_s)
    promise_s = settings.receipt_promise_s if settings.receipt_key is not None else 0
    chain = replace(await chain_pace(rpc, deployment), promise_s=promise_s)
    allowed = pace_of(chain, settings.nonces_in_flight)
    return Pace(readings or allowed.max_readings, age_s or allowed.max_age_s)
