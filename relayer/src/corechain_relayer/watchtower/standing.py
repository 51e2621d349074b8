"""How channels stand on chain, asked of the contract: no logs are read, however old it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corechain.deployment import Deployment
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import to_hex
from corechain.service.words import octets
from corechain_relayer.calldata import selector
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Found, Moot
from corechain_relayer.submitter.views import views_at_head
from corechain_relayer.watchtower.channels import VERSION_MAX

CHANNEL_OF = selector("channelOf(bytes32)")


def intent_key(channel_id: bytes, version: int) -> str:
    return f"channel:{channel_id.hex()}:{version}"


def parts_of(key: str) -> tuple[bytes, int]:
    """(channel id, version) of an intent's key."""
    _, channel_id, version = key.split(":")
    return bytes.fromhex(channel_id), int(version)


def channel_call(contract: bytes, channel_id: bytes) -> dict[str, str]:
    return {"to": to_hex(contract), "data": to_hex(CHANNEL_OF + channel_id)}


def _words(raw: Any) -> list[int]:
    """deposit, balance of party A, version, deadline. Raises NodeUnavailable."""
    content = octets(raw, "a channel")
    if len(content) != 4 * 32:
        raise NodeUnavailable(f"channelOf: {len(content)} bytes are no channel")
    return [int.from_bytes(content[n : n + 32], "big") for n in range(0, 128, 32)]


def version_in(raw: Any) -> int:
    """Of an answer of `channelOf`. Raises NodeUnavailable."""
    return _words(raw)[2]


@dataclass(frozen=True, slots=True)
class AnsweredChallenges:
    """Whether challenges need our answers no more: answered as well or better, closed, or over.

    Moot at once: while a challenge is stale the tower wants its answer again, after a reorg too. So
    is what was signed and came to nothing (it reverted, its nonce was used by hand): a new answer
    cannot wait until that is final, as the window may be over by then.
    """

    node: Node
    deployment: Deployment

    async def __call__(self, intents: Sequence[Intent]) -> list[Found]:
        """In one request for a hundred. Raises NodeUnavailable, NodeRefused."""
        contract = self.deployment.address("StateChannels")
        asked = [parts_of(intent.key) for intent in intents]
        calls = [CHANNEL_OF + channel_id for channel_id, _ in asked]
        head, found = await views_at_head(self.node.rpc, contract, calls)
        pairs = zip(intents, found, strict=True)
        return [moot(intent, _words(raw), head.timestamp) for intent, raw in pairs]


def moot(intent: Intent, channel: Sequence[int], now: int) -> Moot | None:
    """`channel`: the words of `channelOf`; `now`: seconds of chain time. Pure."""
    _, version = parts_of(intent.key)
    _, _, held, deadline = channel
    if held > VERSION_MAX:
        return Moot("the channel is closed", at_once=True)
    if held >= version:
        return Moot(f"version {held} stands on chain", at_once=True)
    if deadline <= now:
        # Zero where no challenge runs: a reorg took it.
        why = "the deadline has passed" if deadline else "no challenge runs"
        return Moot(why, at_once=True)
    if intent.attempts:
        why = "its transaction came to nothing: the challenge is answered anew"
        return Moot(why, at_once=True)
    return None
