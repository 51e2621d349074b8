"""What several nodes say to one question, and what of it may be believed. Pure.

Compared is what a reader of the chain uses, not the bytes: clients differ in the fields that they
add and in the order of them (docs/decisions/0031-nodes-that-must-agree.md). A question is answered
as a whole: logs of a range and the header of its end belong together only when the same nodes said
both, as a node that lags leaves logs out without a word.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import msgspec

from corechain.service.errors import (
    NodeBehind,
    NodeRefused,
    NodesDisagree,
    NodeUnavailable,
    QuorumLost,
)
from corechain.service.log_table import parse_logs
from corechain.service.node_names import listed
from corechain.service.rpc import Call
from corechain.service.words import Block, fields_of, octets, parse_block, quantity, unhex

TAGS = frozenset(("latest", "safe", "finalized"))
"""Blocks that nodes name by what they have seen: honest ones differ."""
LAST_BLOCK = (1 << 64) - 1


class Silence(Enum):
    """A node says nothing about it, which contradicts nobody."""

    UNSEEN = "null"
    REFUSED = "an error"


class Kind(Enum):
    """What a call asks for, and so how its answers are compared; the value is a metric's reason."""

    BLOCK = "block"
    LOGS = "logs"
    CHAIN = "chain"
    RECEIPT = "receipt"
    OTHER = "answer"


_KINDS = {
    "eth_getBlockByNumber": Kind.BLOCK,
    "eth_getBlockByHash": Kind.BLOCK,
    "eth_getLogs": Kind.LOGS,
    "eth_chainId": Kind.CHAIN,
    "eth_getTransactionReceipt": Kind.RECEIPT,
}
_MALFORMED = object()
"""In place of a word: equal to nothing but itself."""


def kind_of(call: Call) -> Kind:
    return _KINDS.get(call.method, Kind.OTHER)


def is_tagged(call: Call) -> bool:
    """Whether it asks for a block that each node names for itself."""
    return call.method == "eth_getBlockByNumber" and call.params[0] in TAGS


def newest_named(calls: Sequence[Call]) -> int:
    """The highest block number that the calls name; 0 for none."""
    named = [0]
    for call in calls:
        if call.method == "eth_getBlockByNumber":
            named.append(_number_in(call.params[0], 0))
        if call.method == "eth_getLogs":
            named.append(_number_in(call.params[0].get("toBlock"), 0))
    return max(named)


def word_of(call: Call, raw: Any) -> Hashable:
    """What is compared of an answer. Raises NodeUnavailable when it is malformed."""
    if isinstance(raw, NodeRefused):
        return ("reverts", str(raw.data).lower())
    kind = kind_of(call)
    if kind is Kind.BLOCK:
        return _block_word(call, raw)
    if kind is Kind.LOGS:
        return _logs_word(call.params[0], raw)
    if kind is Kind.CHAIN:
        return quantity(raw, "a chain id", 256)
    if kind is Kind.RECEIPT:
        names = ("transactionHash", "blockHash", "blockNumber", "status")
        return tuple(str(fields_of(raw, "a receipt").get(name)).lower() for name in names)
    return msgspec.json.encode(raw, order="sorted")


def _block_word(call: Call, raw: Any) -> Hashable:
    """Without the bloom filter, which some nodes leave out or send as zeros."""
    block = parse_block(raw)
    named = call.params[0]
    by_hash = call.method == "eth_getBlockByHash"
    if by_hash and block.hash != octets(named, "the hash that was asked for", 32):
        raise NodeUnavailable(f"the node sent another block than {named}")
    number = block.number if by_hash else _number_in(named, block.number)
    if block.number != number:
        raise NodeUnavailable(f"the node sent block {block.number} for block {number}")
    return without_bloom(block)


def _logs_word(query: Mapping[str, Any], raw: Any) -> Hashable:
    first = _number_in(query.get("fromBlock"), 0)
    last = _number_in(query.get("toBlock"), LAST_BLOCK)
    logs = parse_logs(raw, _addresses_of(query), query.get("topics") or (), first, last)
    named = query.get("blockHash")
    if named is not None and any(log.block_hash != unhex(named) for log in logs):
        raise NodeUnavailable(f"the node sent logs of another block than {named}")
    return tuple(logs)


def _addresses_of(query: Mapping[str, Any]) -> list[bytes]:
    """A filter may name one address, several in a list, or none."""
    named = query.get("address") or ()
    return [unhex(address) for address in ([named] if isinstance(named, str) else named)]


def _number_in(named: object, otherwise: int) -> int:
    """A block may be named by a tag ("earliest", "pending"), which says nothing of its number."""
    return int(named, 16) if isinstance(named, str) and named.startswith("0x") else otherwise


@dataclass(slots=True)
class Versions:
    """The different answers to one call. Read only where two differ: what is equal as JSON is equal
    anyway, and reading thousands of logs for each node would cost more than asking for them."""

    call: Call
    raws: list[Any] = field(default_factory=list)
    words: list[Hashable] = field(default_factory=list)

    def place(self, raw: Any) -> int:
        """Which version an answer is. Raises NodeUnavailable when it is seen to be malformed."""
        for number, known in enumerate(self.raws):
            if known == raw:
                return number
        word = word_of(self.call, raw) if self.raws else None
        for number in range(len(self.raws)):
            if self._word(number) == word:
                return number
        self.raws.append(raw)
        self.words.append(word)
        return len(self.raws) - 1

    def _word(self, number: int) -> Hashable:
        if self.words[number] is None:
            self.words[number] = self._read(self.raws[number])
        return self.words[number]

    def _read(self, raw: Any) -> Hashable:
        try:
            return word_of(self.call, raw)
        except NodeUnavailable:
            return _MALFORMED

    def is_malformed(self, number: int) -> bool:
        return self._word(number) is _MALFORMED


@dataclass(frozen=True, slots=True)
class Ballot:
    """One node's answers, and the version that each one is; of tagged calls there is none."""

    answers: Sequence[Any]
    versions: tuple[int | Silence | None, ...]

    @property
    def is_whole(self) -> bool:
        return not any(isinstance(version, Silence) for version in self.versions)


@dataclass(slots=True)
class Poll:
    """The answers to some calls, as they come in, by the number of the node."""

    calls: Sequence[Call]
    quorum: int
    ballots: dict[int, Ballot] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    _versions: list[Versions] = field(init=False)

    def __post_init__(self) -> None:
        self._versions = [Versions(call) for call in self.calls]

    @property
    def tagged(self) -> list[int]:
        return [place for place, call in enumerate(self.calls) if is_tagged(call)]

    def hear(self, node: int, answers: Sequence[Any]) -> None:
        """Takes a node's answers. Raises NodeUnavailable when one is malformed."""
        if self.quorum == 1:  # nobody else will be compared with it
            for call, raw in zip(self.calls, answers, strict=True):
                if _silence(raw) is None:
                    word_of(call, raw)
        cells = zip(self.calls, self._versions, answers, strict=True)
        self.ballots[node] = Ballot(answers, tuple(self._cell(*cell) for cell in cells))

    def among(self, quorum: int) -> "Poll":
        """The same where fewer need to agree. Raises NodeUnavailable for a malformed one."""
        found = Poll(self.calls, quorum, failures=self.failures)
        for node, ballot in self.ballots.items():
            found.hear(node, ballot.answers)
        return found

    def fail(self, node: int, why: str) -> None:
        """A node that gave no answer."""
        self.failures[node] = why

    @staticmethod
    def _cell(call: Call, versions: Versions, raw: Any) -> int | Silence | None:
        if is_tagged(call):
            if _silence(raw) is None:
                word_of(call, raw)
            return None
        if is_revert(call, raw):
            return versions.place(raw)
        return _silence(raw) or versions.place(raw)

    def agreed(self) -> list[int]:
        """The nodes that say all of it alike, when they are enough; the largest such group."""
        groups: dict[tuple[int | Silence | None, ...], list[int]] = {}
        for node, ballot in self.ballots.items():
            if ballot.is_whole:
                groups.setdefault(ballot.versions, []).append(node)
        largest = max(groups.values(), key=len, default=[])
        return largest if len(largest) >= self.quorum else []

    def is_settled(self) -> bool:
        """Whether nobody else has to be asked."""
        tags = (self.named_by(place) for place in self.tagged)
        return bool(self.agreed()) and all(tag.is_settled(self.quorum) for tag in tags)

    def may_settle(self, coming: int) -> bool:
        """Whether it can be settled by so many answers that are still to come."""
        whole = Counter(b.versions for b in self.ballots.values() if b.is_whole)
        most = max(whole.values(), default=0)
        if most + coming < self.quorum:
            return False
        return coming > 0 or self.is_settled()

    def answers(self) -> list[Any]:
        """What may be believed, with the tagged calls of whichever node spoke first.

        Raises QuorumLost, NodesDisagree, NodeBehind; NodeUnavailable for a malformed one that they
        agree on.
        """
        agreed = self.agreed()
        if agreed:
            found = list(self.ballots[agreed[0]].answers)
            for place, call in enumerate(self.calls):
                if kind_of(call) is Kind.BLOCK and not is_tagged(call):
                    found[place] = self.with_common_bloom(place, agreed)
            return found
        if len(self.ballots) < self.quorum:
            raise QuorumLost(len(self.ballots), self.quorum, self.failures)
        return [self._alone(place) for place in range(len(self.calls))]

    def with_common_bloom(self, place: int, nodes: Sequence[int]) -> Any:
        """A header, without its bloom filter where the nodes differ in that: a filter of zeros
        would hide logs that a node behind has left out; without one nothing is taken for empty.

        Raises NodeUnavailable for what is no block though they say it alike: nobody has read it.
        """
        raws = [fields_of(self.ballots[node].answers[place], "a block") for node in nodes]
        if len({str(raw.get("logsBloom")).lower() for raw in raws}) == 1:
            return raws[0]
        return {name: value for name, value in raws[0].items() if name != "logsBloom"}

    def _alone(self, place: int) -> Any:
        """One answer, where the whole has no quorum. Logs need the whole: nothing else shows that
        who said them had seen the blocks."""
        call = self.calls[place]
        said = [(node, ballot.versions[place]) for node, ballot in self.ballots.items()]
        votes = Counter(version for _, version in said if isinstance(version, int))
        top = votes.most_common(1)[0] if votes else (0, 0)
        if top[1] >= self.quorum and kind_of(call) is not Kind.LOGS:
            nodes = [node for node, version in said if version == top[0]]
            if kind_of(call) is Kind.BLOCK:
                return self.with_common_bloom(place, nodes)
            return self.ballots[nodes[0]].answers[place]
        if len(votes) > 1 and top[1] < self.quorum:
            raise NodesDisagree(self._dispute(place))
        refused = [node for node, version in said if version is Silence.REFUSED]
        # Of a state a single node's "no" would be an act: what was sent is given up, say.
        if refused and not (votes and kind_of(call) is Kind.OTHER and len(refused) < self.quorum):
            return self.ballots[refused[0]].answers[place]
        if votes:
            others = listed(n for n, v in said if isinstance(v, Silence))
            what = f"too few nodes have seen what {call.method} asks for, not node {others}"
            raise NodeBehind(what + self.silent())
        return None

    def _dispute(self, place: int) -> str:
        call = self.calls[place]
        sides = {
            version: sorted(n for n, b in self.ballots.items() if b.versions[place] == version)
            for version in {b.versions[place] for b in self.ballots.values()}
            if isinstance(version, int)
        }
        nodes = " and ".join(listed(side) for side in sorted(sides.values()))
        what = f"nodes {nodes} disagree about {kind_of(call).value} ({_subject(call)})"
        return what + self.silent()

    def silent(self) -> str:
        """What is to be said of those that gave no answer, behind what the others say."""
        items = sorted(self.failures.items())
        return "".join(f"; node {n} is away: {why}" for n, why in items)

    def contradicting(self) -> dict[int, str]:
        """The nodes that say other things than those that agree, by the kind of what they say."""
        agreed = self.agreed()
        if not agreed:
            return {}
        right = self.ballots[agreed[0]].versions
        wrong: dict[int, str] = {}
        for node, ballot in self.ballots.items():
            for place, version in enumerate(ballot.versions):
                if isinstance(version, int) and version != right[place] and node not in wrong:
                    malformed = self._versions[place].is_malformed(version)
                    kind = kind_of(self.calls[place]).value
                    wrong[node] = "malformed" if malformed else kind
        return wrong

    def named_by(self, place: int) -> "Named":
        """What the nodes call by the tag of a call."""
        answers = {node: ballot.answers[place] for node, ballot in self.ballots.items()}
        heard = {node: raw for node, raw in answers.items() if _silence(raw) is None}
        blocks = {node: without_bloom(parse_block(raw)) for node, raw in heard.items()}
        return Named(blocks, len(answers) - len(heard))


@dataclass(frozen=True, slots=True)
class Named:
    """The blocks that nodes call by one tag, and how many know no such tag."""

    blocks: Mapping[int, Block]
    silent: int

    def alike(self, quorum: int) -> list[int]:
        """Nodes that name the same block, if they are enough; the highest such."""
        votes = Counter(self.blocks.values())
        enough = [block for block, count in votes.items() if count >= quorum]
        if not enough:
            return []
        highest = max(enough, key=lambda block: (block.number, votes[block]))
        return [node for node, block in self.blocks.items() if block == highest]

    def is_settled(self, quorum: int) -> bool:
        """Whether enough name one block, or know no such tag."""
        return bool(self.alike(quorum)) or self.silent >= quorum

    def candidates(self, quorum: int) -> list[int]:
        """The heights that enough nodes have reached, highest first; only those that one names."""
        heights = sorted((block.number for block in self.blocks.values()), reverse=True)
        return sorted(set(heights[quorum - 1 :]), reverse=True)


def without_bloom(block: Block) -> Block:
    return replace(block, logs_bloom=None)


def is_revert(call: Call, raw: Any) -> bool:
    """Whether a refusal is the contract's, which says as much as a result: it has data (EIP-140).
    Without data it may be the node's own, and says nothing."""
    return (
        kind_of(call) is Kind.OTHER
        and isinstance(raw, NodeRefused)
        and raw.data is not None
        and len(raw.data) > len("0x")
    )


def _silence(raw: Any) -> Silence | None:
    if raw is None:
        return Silence.UNSEEN
    return Silence.REFUSED if isinstance(raw, NodeRefused) else None


def _subject(call: Call) -> str:
    asked = call.params[0] if call.params else ""
    if isinstance(asked, dict):
        asked = asked.get("blockHash") or f"{asked.get('fromBlock')} to {asked.get('toBlock')}"
    return f"{call.method} {asked}"
