"""What the keeper asks of DataBatches, for all lanes by one request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corechain.deployment import Deployment
from corechain.protocol.eip712 import address_word, uint_word
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Call, Questions, to_hex
from corechain.service.words import octets
from corechain_relayer.calldata import selector
from corechain_relayer.receipts.standing import Standing

BOND_OF = selector("bondOf(uint16)")
CHALLENGE_WINDOW, ANSWER_WINDOW = selector("challengeWindow()"), selector("answerWindow()")
SIGNER_UNTIL = selector("receiptSignerUntil(uint16,uint40,address)")
BOND_WORDS = 6


@dataclass(frozen=True, slots=True)
class ReceiptContract:
    """Raises NodeUnavailable, NodeRefused."""

    rpc: Questions
    deployment: Deployment
    signer: bytes

    @property
    def address(self) -> bytes:
        return self.deployment.address("DataBatches")

    async def windows(self) -> tuple[int, int]:
        """How long a batch can be challenged, and a demand be answered: seconds, immutable."""
        challenge, answer = [
            _number(await self.rpc.eth_call(self.address, call), 0)
            for call in (CHALLENGE_WINDOW, ANSWER_WINDOW)
        ]
        if not challenge or not answer:
            raise NodeUnavailable("the node knows no windows of DataBatches")
        return challenge, answer

    async def standings(self, lanes: Sequence[int], block: int) -> list[Standing]:
        """One a lane, as of a block. NodeRefused, too, where the node has no state of it."""
        calls = [BOND_OF + uint_word(lane) for lane in lanes]
        bonds = await self._views(calls, BOND_WORDS, block)
        sinces = [_number(bond, 2) for bond in bonds]
        pairs = zip(lanes, sinces, strict=True)
        who = address_word(self.signer)
        asks = [SIGNER_UNTIL + uint_word(lane) + uint_word(since) + who for lane, since in pairs]
        untils = await self._views(asks, 1, block)
        return [
            Standing(since, _number(bond, 1) > 0, _number(bond, 3) > 0, _number(until, 0))
            for since, bond, until in zip(sinces, bonds, untils, strict=True)
        ]

    async def _views(self, calls: Sequence[bytes], words: int, block: int) -> list[bytes]:
        to, at = to_hex(self.address), hex(block)
        asked = [Call("eth_call", ({"to": to, "data": to_hex(data)}, at)) for data in calls]
        answers = await self.rpc.call_all(asked)
        return [_answer(raw, words) for raw in answers]


def _answer(raw: Any, words: int) -> bytes:
    if isinstance(raw, NodeRefused):
        raise raw
    found = octets(raw, "the result of a call")
    if len(found) < 32 * words:
        raise NodeUnavailable(f"the node sent {len(found)} bytes for {words} words of DataBatches")
    return found


def _number(words: bytes, index: int) -> int:
    return int.from_bytes(words[32 * index : 32 * index + 32], "big")
