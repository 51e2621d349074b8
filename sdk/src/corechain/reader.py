"""Views, logs and commitments of one deployment behind one node. Blocking."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from corechain.contracts import RevertDecoder, Reverted, UnexpectedReturn, function_of, revert_data
from corechain.deployment import Deployment, load_abi
from corechain.http import service_url, shown_url
from corechain.node import (
    ChainUnavailable,
    LogEntry,
    Node,
    NodeRefusal,
    call_of,
    octets,
    quantity,
)
from corechain.protocol.archive import MAX_GROUP
from corechain.protocol.eip712 import uint_word
from corechain.protocol.errors import ProtocolError, UnknownBatch, WrongChain
from corechain.protocol.events import BatchCommitted, BatchesCommitted
from corechain.protocol.logs import commitments_of, decode_log, topic_of
from corechain.protocol.values import U48_MAX, U64_MAX, mapping, one_of, whole

if TYPE_CHECKING:
    from web3 import Web3
    from web3.contract import Contract

CONTRACTS = (
    "DeviceRegistry",
    "DataBatches",
    "BatchChallenges",
    "CoreToken",
    "PaymentChannels",
    "StateChannels",
)
MAX_TOPICS = 1_024
"""Alternatives of one log filter; four groups' worth, and within what nodes take."""


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def batch_number(batch_id: object) -> int:
    """Raises InvalidValue, ValueOutOfRange."""
    return whole("batch_id", batch_id, 1, U48_MAX)


def _hint(block: object) -> int | None:
    return None if block is None else whole("block", block, 0, U64_MAX)


def _unknown(error: UnknownBatch, said: int | None, head: int) -> UnknownBatch | ChainUnavailable:
    """A node that has not come so far does not know what is there: it may in a moment."""
    if said is None or said <= head:
        return error
    return ChainUnavailable(
        f"batch {error.batch_id} is said to be in block {said}, the node has seen block {head}: "
        "ask again when it has"
    )


def _decoded(log: LogEntry) -> Any:
    """The event of a log. Raises ChainUnavailable: a log of a contract of ours is always one."""
    try:
        event = decode_log(list(log.topics), log.data)
    except ProtocolError as error:
        raise ChainUnavailable(f"the node sent a log in a shape of its own: {error}") from error
    if event is None:
        raise ChainUnavailable("the node sent a log nobody asked for")
    return event


@dataclass
class ChainReader:
    """Views and logs of one deployment behind one node: the half of `Chain` that costs nothing."""

    rpc_url: str
    deployment: Deployment
    _node: Node = field(init=False, repr=False)
    _right_chain: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        one_of("deployment", self.deployment, Deployment, "takes a Deployment; see load_deployment")
        self._node = self._new_node()

    def _new_node(self) -> Node:
        return Node(service_url("rpc_url", self.rpc_url))

    @property
    def node(self) -> Node:
        """On the right chain. Raises ChainUnavailable, WrongChain."""
        if not self._right_chain:
            chain_id = self._node.chain_id()
            if chain_id != self.deployment.chain_id:
                raise WrongChain(
                    f"the node at {shown_url(self.rpc_url, path=False)} is on chain {chain_id}, "
                    f"the deployment on {self.deployment.chain_id}"
                )
            self._right_chain = True
        return self._node

    def time(self) -> int:
        """The newest block's time, seconds since 1970: the clock that contracts go by."""
        block = self.node.call("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, Mapping):
            raise ChainUnavailable(f"the node sent {block!r:.80} as its latest block")
        return quantity(block.get("timestamp"), "the time of a block")

    def close(self) -> None:
        """Closes the connections of this process; the next call opens new ones."""
        self._node.close()

    @cached_property
    def web3(self) -> "Web3":
        """web3.py on the same connection, for what is not here. Raises ChainUnavailable,
        WrongChain."""
        from corechain.web3_provider import web3_of

        return web3_of(self.node)

    @cached_property
    def _decoder(self) -> RevertDecoder:
        return RevertDecoder.of([load_abi(name) for name in CONTRACTS])

    def contract(self, name: str) -> "Contract":
        """A contract of the deployment as web3.py has it."""
        address = self.web3.to_checksum_address(self.deployment.address(name))
        return self.web3.eth.contract(address=address, abi=load_abi(name))

    def call(self, contract: str, function: str, *arguments: object) -> Any:
        """A view; addresses are 20 bytes or hex. Raises the contract's error by its own name,
        InvalidValue for arguments that do not fit."""
        view = function_of(contract, function, len(arguments))
        data, to = view.encode(arguments), self.deployment.address(contract)
        try:
            returned = self.node.eth_call(to, data)
        except NodeRefusal as refusal:
            raise self._reverted(refusal) from refusal
        try:
            return view.decode(returned)
        except UnexpectedReturn as error:
            self._require_code(contract, to)
            raise ChainUnavailable(f"{contract}.{function}: {error}") from error

    def _require_code(self, contract: str, address: bytes) -> None:
        code = octets(self.node.call("eth_getCode", _hex(address), "latest"), "code")
        if not code:
            raise WrongChain(f"there is no {contract} at {_hex(address)} on this chain")

    def _reverted(self, refusal: NodeRefusal) -> ProtocolError | ChainUnavailable:
        """The contract's error, or the refusal itself when it is the node's own."""
        data = revert_data(refusal.data)
        if data:
            return self._decoder.error(data)
        return Reverted(refusal.message) if "revert" in refusal.message.lower() else refusal

    def commitment_of(self, batch_id: int) -> bytes:
        """The 26-byte commitment of a batch, from the ring, or from the log if it is older or was
        committed in a group. Raises UnknownBatch."""
        batch = batch_number(batch_id)
        return self.commitments_of({batch: None})[batch]

    def commitments_of(self, batches: Mapping[int, int | None]) -> dict[int, bytes]:
        """The commitments of many batches, a hundred a request; each maps to the block in which
        somebody says it was committed (a hint where to look, or None). Raises UnknownBatch."""
        right = "takes batch ids with the blocks to look in, or None"
        given = mapping("batches", batches, right)
        batches = {batch_number(batch): _hint(block) for batch, block in given.items()}
        view = function_of("DataBatches", "commitmentOf", 1)
        to, known = self.deployment.address("DataBatches"), dict[int, bytes]()
        calls = [call_of(to, view.encode([batch])) for batch in batches]
        for batch, result in zip(batches, self.node.call_many(calls), strict=True):
            word = self._word(result, batch)
            if word is not None:
                known[batch] = word
        missing = {batch: hint for batch, hint in batches.items() if batch not in known}
        return known | self._logged(missing) if missing else known

    def is_newest(self, batch_id: int) -> bool:
        """Whether no batch of its lane has been committed behind it; 0: none of lane 0 at all.
        Raises ChainUnavailable, WrongChain, InvalidValue."""
        batch = whole("batch_id", batch_id, 0, U48_MAX - 1)
        view = function_of("DataBatches", "commitmentOf", 1)
        to = self.deployment.address("DataBatches")
        asked = [call_of(to, view.encode([one])) for one in (batch, batch + 1)]
        here, behind = self.node.call_many(asked)
        if self._word(behind, batch + 1) is not None:
            return False
        # The ring holds this one still: nothing can have overwritten the place of the next.
        if batch and not isinstance(here, NodeRefusal) and not self._is_grouped(behind):
            return True
        return not self._is_logged(batch + 1)

    def _is_grouped(self, result: Any) -> bool:
        error = self._reverted(result) if isinstance(result, NodeRefusal) else None
        return getattr(error, "error", None) == "Grouped"

    def _is_logged(self, batch: int) -> bool:
        try:
            self._searched([batch], self.node.head())
        except UnknownBatch:
            return False
        return True

    def _word(self, result: Any, batch_id: int) -> bytes | None:
        """A commitment of the ring; None when only the log has it. Raises ChainUnavailable."""
        if isinstance(result, NodeRefusal):
            error = self._reverted(result)
            if isinstance(error, UnknownBatch) or getattr(error, "error", None) == "Grouped":
                return None
            raise error
        word = octets(result, f"the commitment of batch {batch_id}")
        if len(word) != 32 or any(word[26:]):
            self._require_code("DataBatches", self.deployment.address("DataBatches"))
            raise ChainUnavailable(f"the node sent {len(word)} bytes as a commitment")
        return word[:26]

    def _logged(self, batches: Mapping[int, int | None]) -> dict[int, bytes]:
        known: dict[int, bytes] = {}
        head = self.node.head()
        for block in sorted({hint for hint in batches.values() if hint is not None}):
            if block <= head:
                known.update(self._commitments(block, block))
        known = {batch: known[batch] for batch in batches if batch in known}
        missing = sorted(batches.keys() - known.keys())
        while missing:
            try:
                some = self._searched(missing, head)
            except UnknownBatch as error:
                raise _unknown(error, batches[error.batch_id], head) from error
            known.update(some)
            missing = [batch for batch in missing if batch not in some]
        return known

    def _searched(self, missing: Sequence[int], head: int) -> dict[int, bytes]:
        """The first ones of `missing`, from all logs. Raises UnknownBatch."""
        firsts: set[int] = set()
        wanted: list[int] = []
        for batch in missing:
            # A group is named by its first batch, which is at most MAX_GROUP − 1 before this one.
            firsts.update(range(max(1, batch - MAX_GROUP + 1), batch + 1))
            wanted.append(batch)
            if len(firsts) > MAX_TOPICS - MAX_GROUP:
                break
        topics = [_hex(uint_word(first)) for first in sorted(firsts)]
        start = self.deployment.contract("DataBatches").block
        found = dict(self._commitments(start, head, [topics]))
        unknown = next((batch for batch in wanted if batch not in found), None)
        if unknown is not None:
            raise UnknownBatch(unknown)
        return {batch: found[batch] for batch in wanted}

    def _commitments(
        self, first: int, last: int, topics: Sequence[Any] = ()
    ) -> list[tuple[int, bytes]]:
        """(batch id, commitment) of the logs of some blocks, oldest first."""
        kinds = [_hex(topic_of(kind)) for kind in (BatchCommitted, BatchesCommitted)]
        events = self._events("DataBatches", [kinds, *topics], first, last)
        return [row for event in events for row in commitments_of(event)]

    def _events(self, contract: str, topics: Sequence[Any], first: int, last: int) -> Iterable[Any]:
        """Of a contract's logs, oldest first; no more are asked for than are taken."""
        for _, logs in self._pieces(contract, topics, first, last):
            yield from logs

    def _pieces(
        self, contract: str, topics: Sequence[Any], first: int, last: int
    ) -> Iterable[tuple[int, list[Any]]]:
        """The last block of each piece that was read, and its events."""
        address = self.deployment.address(contract)
        for end, logs in self.node.log_pieces(address, topics, first, last):
            yield end, [_decoded(log) for log in logs]

    def commitments_between(self, first_block: int, last_block: int) -> list[tuple[int, bytes]]:
        """(batch id, commitment) of what was committed in these blocks, oldest first; from the
        deployment on. Raises InvalidValue."""
        first, last = (whole("block", one, 0, U64_MAX) for one in (first_block, last_block))
        start = max(first, self.deployment.contract("DataBatches").block)
        return self._commitments(start, last) if start <= last else []

    def committed_batches(self) -> list[bytes]:
        """Commitments of all batches since the deployment, oldest first. For small chains: it reads
        all logs, range by range."""
        start = self.deployment.contract("DataBatches").block
        return [commitment for _, commitment in self._commitments(start, self.node.head())]
