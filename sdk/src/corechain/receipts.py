"""Completeness receipts as a client has them: taken out of an answer, checked, kept in a file.

The gateway signs one receipt for all reports of a frame. What a client keeps is that signature, the
way from its report to the root that was signed, and the report itself: all that a demand on chain
takes. Source: docs/protocol.md, "Receipts".
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corechain.documents import MalformedAnswer, ReceiptJson, WrongAnswer
from corechain.paths import draft_of, file_path
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import InvalidProof, ProtocolError
from corechain.protocol.hashing import DIGEST_BYTES, hash26
from corechain.protocol.merkle import depth_of
from corechain.protocol.reading import SignedReport, unpack_report
from corechain.protocol.receipt_spans import span_of
from corechain.protocol.receipts import MalformedReceipt, ReportReceipt, SignedReceipt

SIGNED_BYTES, POSITION_BYTES = 106, 4


class ReceiptOutOfRange(ProtocolError):
    """The receipt promises its report for a time that nobody can wait for, or that is long over."""

    def __init__(self, commit_by: int, now: int, most_s: int) -> None:
        super().__init__(
            f"promised by second {commit_by}; it is {now} on the chain, and more than {most_s} s "
            "from it in either direction is no promise"
        )
        self.commit_by, self.now, self.most_s = commit_by, now, most_s


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A report with its receipt."""

    proof: ReportReceipt
    report: SignedReport

    @property
    def lane(self) -> int:
        return self.proof.signed.receipt.lane

    @property
    def since(self) -> int:
        """Second of the bond that answers for it."""
        return self.proof.signed.receipt.since

    @property
    def commit_by(self) -> int:
        """Chain second by which the report is in a batch; after it the report can be demanded."""
        return self.proof.signed.receipt.commit_by

    def signer(self, domain: Domain) -> bytes:
        """Checks the report's way to the root, and says who signed that (`batches_domain`).

        Raises InvalidProof, HighS, InvalidSignature.
        """
        self.proof.verify_inclusion(self.report.pack())
        return self.proof.signed.signer(domain)

    def pack(self) -> bytes:
        """110 bytes ‖ 26 for each level of the tree ‖ the signed report."""
        return self.proof.pack() + self.report.pack()

    @classmethod
    def unpack(cls, packed: bytes) -> "KeptReceipt":
        """Raises MalformedReceipt, MalformedReport."""
        signed = SignedReceipt.unpack(packed[:SIGNED_BYTES])
        depth = depth_of(signed.receipt.count)
        end = SIGNED_BYTES + POSITION_BYTES + DIGEST_BYTES * depth
        proof = ReportReceipt.unpack(packed[:end])
        report, rest = unpack_report(packed, end)
        if rest != len(packed):
            raise MalformedReceipt(f"{len(packed) - rest} bytes lie behind the report")
        return cls(proof, report)

    def save(self, path: Path | str) -> None:
        """Writes it to a file, whole or not at all; returns when it is on the disk."""
        target = file_path(path)
        draft = draft_of(target)
        try:
            with draft.open("wb") as file:
                file.write(self.pack())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str) -> "KeptReceipt":
        """Raises MalformedReceipt, MalformedReport, OSError."""
        return cls.unpack(file_path(path).read_bytes())


@dataclass(frozen=True, slots=True)
class Receipted:
    """What an answer has for the reports of its request, by their index."""

    kept: dict[int, KeptReceipt]
    missing: dict[int, str]

    @property
    def signed(self) -> list[SignedReceipt]:
        """Each receipt once."""
        return list(dict.fromkeys(one.proof.signed for one in self.kept.values()))


def receipted(entries: Sequence[ReceiptJson], reports: Sequence[SignedReport]) -> Receipted:
    """The receipts of an answer to these reports, each proven to hold them.

    Raises MalformedAnswer, WrongAnswer, MalformedReceipt, InvalidProof.
    """
    found = Receipted({}, {})
    for entry in entries:
        indexes = _indexes(entry, len(reports))
        if any(index in found.kept or index in found.missing for index in indexes):
            raise WrongAnswer("the gateway names a report in two receipts")
        if entry.receipt is None:
            found.missing.update(dict.fromkeys(indexes, entry.missing or ""))
        else:
            found.kept.update(_proven(entry.receipt, indexes, reports))
    return found


def _indexes(entry: ReceiptJson, count: int) -> list[int]:
    # Before a range is made of them: an answer must not say how much memory we take.
    if any(not first < end <= count for first, end in entry.of):
        raise MalformedAnswer(f"not spans of {count} results")
    indexes = [index for first, end in entry.of for index in range(first, end)]
    if sorted(set(indexes)) != indexes:
        raise MalformedAnswer("the spans of a receipt do not ascend")
    return indexes


def _proven(
    packed: bytes, indexes: Sequence[int], reports: Sequence[SignedReport]
) -> dict[int, KeptReceipt]:
    signed = SignedReceipt.unpack(packed[:SIGNED_BYTES])
    start = SIGNED_BYTES + POSITION_BYTES
    if len(packed) < start or not indexes:
        raise MalformedReceipt(f"{len(packed)} bytes are no receipt with a proof")
    first = int.from_bytes(packed[SIGNED_BYTES:start], "big")
    leaves = [hash26(reports[index].pack()) for index in indexes]
    ends = range(start, len(packed), DIGEST_BYTES)
    nodes = [packed[at : at + DIGEST_BYTES] for at in ends]
    span = span_of(leaves, first, signed.receipt.count, nodes)
    if span.root != signed.receipt.root:
        raise InvalidProof("the receipt is not of the reports that were sent")
    return {
        index: KeptReceipt(ReportReceipt(signed, at, tuple(span.path(at))), reports[index])
        for at, index in enumerate(indexes, first)
    }


Check = Callable[[Sequence[SignedReceipt]], None]
"""Whether the chain stands behind receipts. Raises UnknownReceiptSigner, ReceiptUnsecured,
ReceiptOutOfRange, HighS, InvalidSignature, ChainUnavailable."""
