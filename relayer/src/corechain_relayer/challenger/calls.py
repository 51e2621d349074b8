"""Calls of disputes, and what the contract says to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from corechain.deployment import Deployment
from corechain.protocol.archive import Place, Revealed
from corechain.protocol.batch import Header
from corechain.protocol.eip712 import address_word, uint_word
from corechain.protocol.events import EVIDENCE
from corechain.protocol.evidence import Evidence, Shown, Witness
from corechain.protocol.hashing import Digest26, keccak
from corechain.protocol.inquiry import Wanted, subject_of
from corechain.protocol.suspects import Accusation, Standing
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Call, Questions, to_hex
from corechain.service.words import octets, quantity
from corechain_relayer.calldata import selector
from corechain_relayer.submitter.memory import WOULD_REVERT
from corechain_relayer.submitter.node import refusal_of

PLACE = "(uint48,uint32,bytes26[])"
REVEALED = (
    "((uint48,bytes26,bytes26,bytes26,bytes26,bytes32,bytes32,uint32,uint32,uint40,uint40),bytes26)"
)
CHALLENGE_TYPES = ["uint8", "uint48", REVEALED, PLACE, EVIDENCE]
DEMAND_TYPES = ["uint8", "uint48", "bytes26", PLACE, EVIDENCE]
COMMITTED_TYPES = ["uint48", "bytes26", PLACE]
CHALLENGE = selector(f"challenge({','.join(CHALLENGE_TYPES)})")
DEMAND = selector(f"demand({','.join(DEMAND_TYPES)})")
EXPIRE, DEMAND_OF = selector("expire(bytes32)"), selector("demandOf(bytes32)")
COMMITTED = selector(f"requireCommitted({','.join(COMMITTED_TYPES)})")
BOND_OF, FEE_OF, TOKEN_OF = (
    selector(name) for name in ("bondOf(uint16)", "demandFee()", "bondToken()")
)
CHALLENGE_WINDOW, ANSWER_WINDOW = (
    selector(name) for name in ("challengeWindow()", "answerWindow()")
)
BALANCE_OF, ALLOWANCE, APPROVE = (
    selector(name)
    for name in ("balanceOf(address)", "allowance(address,address)", "approve(address,uint256)")
)
REFUSALS = (
    "WindowOver(uint48,uint40)",
    "NoBond(uint48)",
    "AlreadyDemanded(bytes32)",
    "UnknownDemand(bytes32)",
    "AnswerPending(uint40)",
    "NotFraud(uint8)",
    "MalformedEvidence()",
    "WrongWitness(uint48)",
    "KeyMismatch(address,address)",
    "UnknownDevice(address)",
    "MissingPrecompile()",
    "OtherChain(uint256)",
    "Registered(address,uint40)",
    "InvalidProof()",
    "UnknownBatch(uint48)",
    "Grouped(uint48)",
    "NothingToVeto()",
    "NotPermitted(address,address)",
    "TransferFailed(address)",
)
ADDRESS_BYTES = 20
MOST_CALL_BYTES = 90_000
"""What every chain's nodes take as a transaction: geth's pool 128 KiB, Arbitrum's sequencer 95,000.
A question of any size is answered, so that a fraud could be found and never be shown."""
TOO_LARGE = "TooLarge"
_NAMES = {selector(signature): signature.partition("(")[0] for signature in REFUSALS}


def _refusal(error: NodeRefused) -> str | None:
    """Name of the contract's error; "Refused" for one that we do not know, or that the node keeps
    to itself; None where it is the node that refuses."""
    if refusal_of(error) != WOULD_REVERT:
        return None
    try:
        raw = bytes.fromhex((error.data or "").removeprefix("0x"))
    except ValueError:
        raw = b""
    return _NAMES.get(raw[:4], "Refused")


def challenge_call(accusation: Accusation, standing: Standing, revealed: Revealed) -> bytes:
    from eth_abi.abi import encode  # a tenth of a second of CPU, for calls that most never make

    place, words = tuple(standing.place), accusation.evidence.words()
    fields = [accusation.fraud, standing.batch_id, revealed.words(), place, words]
    return CHALLENGE + encode(CHALLENGE_TYPES, fields)


def demand_call(wanted: Wanted, standing: Standing) -> bytes:
    from eth_abi.abi import encode

    what = (wanted.kind, standing.batch_id, standing.commitment, tuple(standing.place))
    return DEMAND + encode(DEMAND_TYPES, [*what, wanted.evidence.words()])


def demand_id(wanted: Wanted, standing: Standing) -> bytes:
    """As the contract makes it (Disputes.sol, `_demandId`)."""
    words = uint_word(wanted.kind) + uint_word(standing.batch_id) + standing.commitment + bytes(6)
    return keccak(words + subject_of(wanted, standing.committed_at))


def expire_call(demand: bytes) -> bytes:
    return EXPIRE + demand


def approve_call(spender: bytes, amount: int) -> bytes:
    return APPROVE + address_word(spender) + uint_word(amount)


def evidence_of(encoded: bytes) -> Evidence:
    """Of an `Answered`. Raises eth_abi's errors for what is no evidence: a contract wrote it."""
    from eth_abi.abi import decode

    shown, witnesses, extra = decode([EVIDENCE], encoded)[0]
    return Evidence([_shown(one) for one in shown], [_witness(one) for one in witnesses], extra)


def _shown(words: Sequence[Any]) -> Shown:
    position, content, proof = words
    return Shown(position, content, tuple(Digest26(node) for node in proof))


def _witness(words: Sequence[Any]) -> Witness:
    number, (header, root), (anchor, member, path) = words
    place = Place(anchor, member, tuple(Digest26(node) for node in path))
    return Witness(number, Revealed(Header(*header), Digest26(root)), place)


def words_of(raw: object, count: int) -> list[int]:
    """Numbers of a contract's answer. Raises NodeUnavailable for another one, or the NodeRefused
    that stands in its place."""
    if isinstance(raw, NodeRefused):
        raise raw
    found = octets(raw, "a contract's answer", 32 * count)
    return [int.from_bytes(found[at : at + 32], "big") for at in range(0, len(found), 32)]


def _second(raw: object) -> int | None:
    """None where the contract refuses. Raises NodeUnavailable, NodeRefused."""
    if isinstance(raw, NodeRefused) and _refusal(raw) is not None:
        return None
    return words_of(raw, 1)[0]


@dataclass(frozen=True, slots=True)
class Terms:
    """Of the deployment: seconds, and base units of the bond's token."""

    challenge_s: int
    answer_s: int
    fee: int
    token: bytes


class Asker(NamedTuple):
    """Who made a demand, and from which second on the bond answers under which it was made."""

    address: bytes
    since: int


@dataclass(frozen=True, slots=True)
class DisputesCalls:
    """DataBatches as the challenger sees it. Raises NodeUnavailable, NodeRefused."""

    rpc: Questions
    deployment: Deployment
    sender: bytes

    @property
    def address(self) -> bytes:
        return self.deployment.address("DataBatches")

    async def terms(self) -> Terms:
        calls = (CHALLENGE_WINDOW, ANSWER_WINDOW, FEE_OF, TOKEN_OF)
        words = [await self._words(call, 1) for call in calls]
        window, answer, fee, token = (word[0] for word in words)
        return Terms(window, answer, fee, token.to_bytes(32, "big")[12:])

    async def _words(self, call: bytes, count: int, to: bytes | None = None) -> list[int]:
        found = await self.rpc.eth_call(to or self.address, call)
        if len(found) != 32 * count:
            raise NodeUnavailable(f"the node sent {len(found)} bytes for {count} words")
        return [int.from_bytes(found[at : at + 32], "big") for at in range(0, len(found), 32)]

    async def bonds_since(self, lanes: Sequence[int]) -> dict[int, int]:
        """The second from which on the bond of a lane answers; none for a lane without one."""
        to = to_hex(self.address)
        data = [to_hex(BOND_OF + uint_word(lane)) for lane in lanes]
        calls = [Call("eth_call", ({"to": to, "data": one}, "latest")) for one in data]
        bonds = [words_of(raw, 6) for raw in await self.rpc.call_all(calls)]
        return {lane: bond[2] for lane, bond in zip(lanes, bonds, strict=True) if bond[1]}

    async def committed_at(self, commits: Sequence[tuple[int, bytes, Place]]) -> list[int | None]:
        """The second of each commit (batch, commitment, place), a hundred a request; None where the
        ring does not hold it there any more."""
        from eth_abi.abi import encode

        words = (encode(COMMITTED_TYPES, [batch, root, tuple(at)]) for batch, root, at in commits)
        asked = [{"to": to_hex(self.address), "data": to_hex(COMMITTED + of)} for of in words]
        calls = [Call("eth_call", (one, "latest")) for one in asked]
        return [_second(raw) for raw in await self.rpc.call_all(calls)]

    async def asker(self, demand: bytes) -> Asker | None:
        """Who made an open demand; None when it is closed."""
        who, _, since, _ = await self._words(DEMAND_OF + demand, 4)
        if who >> 8 * ADDRESS_BYTES:
            raise NodeUnavailable(f"the node sent {who:#x} as an address")
        return Asker(who.to_bytes(ADDRESS_BYTES, "big"), since) if who else None

    async def said_to(self, call: bytes, to: bytes | None = None) -> str:
        """Empty when the contract would take the call now, else the name of its refusal, or
        TOO_LARGE for what no node would send."""
        if len(call) > MOST_CALL_BYTES:
            return TOO_LARGE
        target = to or self.address
        asked = {"from": to_hex(self.sender), "to": to_hex(target), "data": to_hex(call)}
        try:
            await self.rpc.call("eth_call", asked, "latest")
        except NodeRefused as error:
            name = _refusal(error)
            if name is None:
                raise
            return name
        return ""

    async def token_balance(self, token: bytes) -> int:
        return (await self._words(BALANCE_OF + address_word(self.sender), 1, token))[0]

    async def allowance(self, token: bytes) -> int:
        call = ALLOWANCE + address_word(self.sender) + address_word(self.address)
        return (await self._words(call, 1, token))[0]

    async def balance(self) -> int:
        """Wei."""
        raw = await self.rpc.call("eth_getBalance", to_hex(self.sender), "latest")
        return quantity(raw, "a balance", 256)
