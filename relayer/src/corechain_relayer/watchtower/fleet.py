"""Several towers that hold the same state: each looks before it sends, so that one answer is paid.

What cannot be known is left: an answer in a pool that our node does not see, or two towers that
send in one moment. The second one reverts once, at about half the gas, and is given up.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corechain.protocol.hashing import keccak
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Block, Call, Questions
from corechain_relayer.submitter.urgency import CALM_SHARE
from corechain_relayer.watchtower.channels import StaleClose
from corechain_relayer.watchtower.standing import channel_call, version_in

STAGGER_SHARE = 16
"""Nobody waits longer than this part of a challenge period for others to come first."""
SPREAD = 1 << 32


@dataclass(slots=True)
class Fleet:
    """`stagger_s`: over how many seconds the towers of a fleet divide. Waits are by the monotonic
    clock, and begin anew with the process: what is left of the period bounds them."""

    rpc: Questions
    contract: bytes
    address: bytes
    stagger_s: float = 0.0
    _since: dict[bytes, float] = field(default_factory=dict)

    def wait_s(self, close: StaleClose) -> float:
        """Our place in the line, another one for each channel, so that the work is divided."""
        place = int.from_bytes(keccak(self.address + close.channel_id)[:4], "big") / SPREAD
        longest_s = min(self.stagger_s, close.channel.terms.challenge_period_s / STAGGER_SHARE)
        return place * longest_s

    async def ours(self, closes: Sequence[StaleClose], head: Block) -> list[StaleClose]:
        """Those that we should answer now, in order. Raises NodeUnavailable."""
        self._since = {c.channel_id: self._first_seen(c) for c in closes}
        now = time.monotonic()
        due = [
            close
            for close in closes
            if is_late(close, head) or now >= self._since[close.channel_id] + self.wait_s(close)
        ]
        pending = await self._pending([close.channel_id for close in due])
        return [c for c in due if is_late(c, head) or not _is_answered(c, pending)]

    def _first_seen(self, close: StaleClose) -> float:
        return self._since.get(close.channel_id, time.monotonic())

    async def _pending(self, channels: Sequence[bytes]) -> Mapping[bytes, int]:
        """Versions as they stand once the node's pool is mined. A node that does not say what is in
        its pool, as sequencers do not, leaves them out."""
        calls = [Call("eth_call", (channel_call(self.contract, c), "pending")) for c in channels]
        found = await self.rpc.call_all(calls) if calls else []
        pairs = zip(channels, found, strict=True)
        return {c: version_in(raw) for c, raw in pairs if not isinstance(raw, NodeRefused)}


def is_late(close: StaleClose, head: Block) -> bool:
    """In the second half of the period nobody is waited for: what lies in a pool may never land."""
    left_s = close.channel.deadline - head.timestamp
    return left_s * CALM_SHARE < close.channel.terms.challenge_period_s


def _is_answered(close: StaleClose, pending: Mapping[bytes, int]) -> bool:
    return pending.get(close.channel_id, 0) >= close.evidence.state.version
