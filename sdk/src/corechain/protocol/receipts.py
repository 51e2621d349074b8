"""Completeness receipts: what a gateway signs for the reports that it acknowledged.

One signature a frame, over the root of a plain tree of its reports. Whoever holds a receipt and its
report can demand the report on chain after `commit_by`; silence costs the lane's bond. Source:
docs/protocol.md, "Receipts".
"""

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from corechain.protocol import native
from corechain.protocol.eip712 import Domain, uint_word
from corechain.protocol.errors import InvalidProof, InvalidSignature, ProtocolError
from corechain.protocol.hashing import DIGEST_BYTES, Digest26, hash26, keccak
from corechain.protocol.keys import recover_signer
from corechain.protocol.merkle import MerkleTree, depth_of, verify_inclusion
from corechain.protocol.reading import SIGNATURE_BYTES
from corechain.protocol.values import U16_MAX, U32_MAX, octets, seconds, whole

RECEIPT_TYPE = b"Receipt(uint16 lane,uint40 since,uint40 commitBy,bytes26 root,uint32 count)"
_TYPEHASH = keccak(RECEIPT_TYPE)
# struct has no 40-bit integer: a time is its high byte and its low 32 bits.
_HEAD = struct.Struct(">HBIBI26sI")
_SIGNED_BYTES = _HEAD.size + SIGNATURE_BYTES
_POSITION = struct.Struct(">I")


class MalformedReceipt(ProtocolError):
    """The bytes are no receipt: a wrong length, or a position that its count does not have."""


class UnknownReceiptSigner(ProtocolError):
    """The lane's submitter has not named this signer for the bond, or not for this late."""

    status = 403

    def __init__(self, lane: int, since: int, signer: bytes) -> None:
        super().__init__(
            f"0x{signer.hex()} signs no such receipts of lane {lane}, bonded at second {since}"
        )
        self.lane, self.since, self.signer = lane, since, signer


class ReceiptNotDue(ProtocolError):
    """The report may still be committed in time: nothing can be demanded yet."""

    status = 409

    def __init__(self, commit_by: int) -> None:
        super().__init__(f"the report is promised to be committed by second {commit_by}")
        self.commit_by = commit_by


class ReceiptExpired(ProtocolError):
    """The time in which the report could be demanded is over."""

    status = 410

    def __init__(self, until: int) -> None:
        super().__init__(f"the report could be demanded until second {until}")
        self.until = until


class ReceiptUnsecured(ProtocolError):
    """The bond that answered for the receipt is gone, or the admin has closed its lane."""

    status = 409

    def __init__(self, lane: int, since: int) -> None:
        super().__init__(f"no bond of second {since} answers for receipts of lane {lane}")
        self.lane, self.since = lane, since


class ReceiptKey(Protocol):
    """A secp256k1 key that signs receipts: `Secp256k1Key` is one, a remote signer may be."""

    def sign(self, digest: bytes) -> bytes: ...


def batches_domain(chain_id: int, batches: bytes) -> Domain:
    """The domain in which receipts are signed; `batches` is the address of DataBatches."""
    return Domain("CoreChain", "1", chain_id, batches)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The promise that the reports under `root` are committed by `commit_by` (chain seconds).

    `since` names the lane's bond that answers for it (`bondOf(lane).since`, seconds). Raises
    InvalidValue, ValueOutOfRange for fields that do not fit.
    """

    lane: int
    since: int
    commit_by: int
    root: bytes
    count: int

    def __post_init__(self) -> None:
        given = {
            "lane": whole("lane", self.lane, 0, U16_MAX),
            "since": seconds("since", self.since),
            "commit_by": seconds("commit_by", self.commit_by),
            "root": octets("root", self.root, DIGEST_BYTES),
            "count": whole("count", self.count, 1, U32_MAX),
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def pack(self) -> bytes:
        """42 bytes: lane 2 ‖ since 5 ‖ commit by 5 ‖ root 26 ‖ count 4."""
        return _HEAD.pack(
            self.lane, *_split(self.since), *_split(self.commit_by), self.root, self.count
        )

    def words(self) -> tuple[object, ...]:
        """The struct as an ABI coder takes it."""
        return self.lane, self.since, self.commit_by, self.root, self.count

    def digest(self, domain: Domain) -> bytes:
        """What is signed (EIP-712)."""
        words = (
            _TYPEHASH,
            uint_word(self.lane),
            uint_word(self.since),
            uint_word(self.commit_by),
            self.root + bytes(32 - DIGEST_BYTES),
            uint_word(self.count),
        )
        return domain.digest(keccak(b"".join(words)))

    def sign(self, domain: Domain, key: ReceiptKey) -> "SignedReceipt":
        return SignedReceipt(self, key.sign(self.digest(domain)))


def _split(seconds_of: int) -> tuple[int, int]:
    return seconds_of >> 32, seconds_of & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt with its 64-byte secp256k1 signature (EIP-2098, low s): one a frame."""

    receipt: Receipt
    signature: bytes

    def pack(self) -> bytes:
        """106 bytes."""
        return self.receipt.pack() + self.signature

    @classmethod
    def unpack(cls, packed: bytes) -> "SignedReceipt":
        """Raises MalformedReceipt."""
        if len(packed) != _SIGNED_BYTES:
            raise MalformedReceipt(f"a signed receipt has {_SIGNED_BYTES} bytes, not {len(packed)}")
        lane, since_high, since, by_high, by, root, count = _HEAD.unpack_from(packed)
        if not count:
            raise MalformedReceipt("a receipt is for one report at least")
        times = since_high << 32 | since, by_high << 32 | by
        return cls(Receipt(lane, *times, root, count), packed[_HEAD.size :])

    def signer(self, domain: Domain) -> bytes:
        """The account that signed it. Raises HighS, InvalidSignature."""
        if len(self.signature) != SIGNATURE_BYTES:
            raise InvalidSignature(f"{len(self.signature)} bytes are no signature of a receipt")
        return recover_signer(self.receipt.digest(domain), self.signature)


@dataclass(frozen=True, slots=True)
class ReportReceipt:
    """What a device keeps beside its report: the frame's receipt, and the report's way to its root
    (sibling hashes from the leaf up)."""

    signed: SignedReceipt
    position: int
    siblings: tuple[Digest26, ...]

    def pack(self) -> bytes:
        """106 bytes ‖ position 4 ‖ 26 for each sibling."""
        return self.signed.pack() + _POSITION.pack(self.position) + b"".join(self.siblings)

    @classmethod
    def unpack(cls, packed: bytes) -> "ReportReceipt":
        """Raises MalformedReceipt, also for a way that is too long or too short for the count."""
        signed = SignedReceipt.unpack(packed[:_SIGNED_BYTES])
        start, count = _SIGNED_BYTES + _POSITION.size, signed.receipt.count
        depth = depth_of(count)
        if len(packed) != start + DIGEST_BYTES * depth:
            raise MalformedReceipt(f"{len(packed)} bytes are no receipt of one of {count} reports")
        (position,) = _POSITION.unpack_from(packed, _SIGNED_BYTES)
        if position >= count:
            raise MalformedReceipt(f"position {position} is none of {count} reports")
        ends = range(start, len(packed), DIGEST_BYTES)
        siblings = tuple(Digest26(packed[at : at + DIGEST_BYTES]) for at in ends)
        return cls(signed, position, siblings)

    def verify(self, report: bytes, domain: Domain, signer: bytes) -> None:
        """Checks that `signer` promised this signed report (body ‖ signature), byte for byte.

        Raises InvalidProof, InvalidSignature, HighS. Whether the lane's submitter has named the
        signer, and for how long, only the chain says.
        """
        self.verify_inclusion(report)
        if self.signed.signer(domain) != signer:
            raise InvalidSignature(f"the receipt is not signed by 0x{signer.hex()}")

    def verify_inclusion(self, report: bytes) -> None:
        """Raises InvalidProof unless the report is at its position under the root."""
        receipt = self.signed.receipt
        # The depth that the count fixes: at another one, an inner node could pass as a leaf.
        if self.position >= receipt.count or len(self.siblings) != depth_of(receipt.count):
            raise InvalidProof(f"no proof for one of {receipt.count} reports")
        verify_inclusion(receipt.root, hash26(report), self.position, self.siblings)


@dataclass(frozen=True, slots=True)
class ReportTree:
    """The root over a frame's reports, and the end of each one's packed receipt in one buffer:
    `position 4 ‖ siblings 26·depth` a report, in the frame's order."""

    root: Digest26
    count: int
    tails: bytes | bytearray

    def tail(self, position: int) -> bytes:
        """What follows the signed receipt of the report at a position."""
        size = len(self.tails) // self.count
        return bytes(self.tails[size * position : size * (position + 1)])


_native_hashes = native.function("hash26_slices")
_native_paths = native.function("merkle_paths")


def tree_over(packed: bytes, starts: "array[int]") -> ReportTree:
    """Of signed reports, one at least: the i-th is packed[starts[i]:starts[i + 1]], as in
    `Columns`. Leaves are those of a batch's `reportsRoot`."""
    if _native_hashes is None or _native_paths is None:
        return plain_tree([packed[start:end] for start, end in pairwise(starts)])
    root, tails = _native_paths(_native_hashes(packed, starts))
    return ReportTree(Digest26(root), len(starts) - 1, tails)


def plain_tree(reports: Sequence[bytes]) -> ReportTree:
    """`tree_over` in pure Python."""
    tree = MerkleTree.over(reports)
    tails = (_POSITION.pack(at) + b"".join(tree.proof(at)) for at in range(len(reports)))
    return ReportTree(tree.root, len(reports), b"".join(tails))


def receipt_subject(device: bytes, sequence: int) -> bytes:
    """What a demand for a receipt's report is about, as one word: device and sequence."""
    return bytes(4) + device + sequence.to_bytes(8, "big")


def receipt_commitment(lane: int, since: int) -> bytes:
    """Where other demands name a batch's commitment, one for a receipt's report names the bond:
    lane 2 ‖ since 5 ‖ zeros 19."""
    return lane.to_bytes(2, "big") + since.to_bytes(5, "big") + bytes(19)
