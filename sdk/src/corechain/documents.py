"""The JSON that gateway and query API answer, as types: checked in shape and range, then believed
to be well formed, never to be true. Pure.

What a server says is input: whatever is not the documented shape is MalformedAnswer.
"""

from typing import Annotated, Any, TypeVar

import msgspec

from corechain.protocol.batch import Header
from corechain.protocol.errors import ProtocolError
from corechain.protocol.hashing import Digest26
from corechain.protocol.merkle import MAX_DEPTH

T = TypeVar("T")


class MalformedAnswer(ProtocolError):
    """The answer does not have the documented shape."""


class WrongAnswer(MalformedAnswer):
    """The answer is well formed, but to another question than the one that was asked."""


def _whole(low: int, bits: int) -> Any:
    return msgspec.Meta(ge=low, le=2**bits - 1)


def _octets(count: int) -> Any:
    return msgspec.Meta(pattern=rf"\A0x[0-9a-fA-F]{{{2 * count}}}\Z")


# A space or a sign would pass bytes.fromhex and int(); these patterns let neither through.
Octets20 = Annotated[str, _octets(20)]
Octets26 = Annotated[str, _octets(26)]
Octets32 = Annotated[str, _octets(32)]
Octets35 = Annotated[str, _octets(35)]
Octets40 = Annotated[str, _octets(40)]
Octets42 = Annotated[str, _octets(42)]
Leaves40 = Annotated[str, msgspec.Meta(pattern=r"\A0x(?:[0-9a-fA-F]{80})*\Z")]
Nodes26 = Annotated[str, msgspec.Meta(pattern=r"\A0x(?:[0-9a-fA-F]{52})*\Z")]
CellText = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{15,16}\Z")]
Decimal = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,78}\Z")]
BatchId = Annotated[int, _whole(1, 48)]
U8 = Annotated[int, _whole(0, 8)]
U16 = Annotated[int, _whole(0, 16)]
U32 = Annotated[int, _whole(0, 32)]
U40 = Annotated[int, _whole(0, 40)]
Unsigned = Annotated[int, msgspec.Meta(ge=0)]
I32 = Annotated[int, _whole(-(2**31), 31)]
I64 = Annotated[int, _whole(-(2**63), 63)]
Depth = Annotated[int, msgspec.Meta(ge=0, le=MAX_DEPTH)]


class _Document(msgspec.Struct, frozen=True):
    """Names that are not listed are passed over: a later server may say more."""


class HeaderJson(_Document, frozen=True):
    batch_id: BatchId
    previous: Octets26
    ancestor: Octets26
    statistics_root: Octets26
    reports_root: Octets26
    data_hash: Octets32
    rules_hash: Octets32
    reading_count: Annotated[int, _whole(1, 32)]
    report_count: U32
    window_start: U40
    window_end: U40

    def header(self) -> Header:
        return Header(
            self.batch_id,
            Digest26(octets(self.previous)),
            Digest26(octets(self.ancestor)),
            Digest26(octets(self.statistics_root)),
            Digest26(octets(self.reports_root)),
            octets(self.data_hash),
            octets(self.rules_hash),
            self.reading_count,
            self.report_count,
            self.window_start,
            self.window_end,
        )


class ReadingProofJson(_Document, frozen=True):
    position: U32
    leaf: Octets40
    rest_hash: Octets32
    proof: list[Octets26]
    block: Unsigned | None = None


class RangeJson(_Document, frozen=True, rename={"start": "from", "end": "to"}):
    """One batch's part of a statistics answer."""

    header: HeaderJson
    readings_root: Octets26
    low: Octets35
    high: Octets35
    start: U32
    end: U32
    leaves: list[Octets40]
    nodes: list[Octets42]
    count: U32
    sum: I64
    min: I32
    max: I32
    block: Unsigned | None = None


class DisclosedJson(_Document, frozen=True, rename={"start": "from", "end": "to"}):
    """A batch that only partly lies in the window: all leaves of a range, and both neighbours."""

    header: HeaderJson
    readings_root: Octets26
    low: Octets35
    high: Octets35
    start: U32
    end: U32
    leaves: Leaves40
    nodes: Nodes26
    block: Unsigned | None = None


class SkippedJson(_Document, frozen=True):
    header: HeaderJson
    readings_root: Octets26
    block: Unsigned | None = None


class StatisticsJson(_Document, frozen=True):
    """`sum` is over many batches: Python's integers hold it."""

    count: Unsigned
    sum: int
    min: I32
    max: I32
    parts: list[RangeJson]
    skipped: list[SkippedJson]
    disclosed: list[DisclosedJson] = []


class RewardJson(_Document, frozen=True):
    owner: Octets20
    cumulative: Decimal
    position: U32
    proof: list[Octets26]


class ReadingJson(_Document, frozen=True, gc=False):
    batch_id: BatchId
    position: U32
    metric: U16
    cell: CellText
    device: Octets20
    observed_at: U40
    value: I32
    flag: U8


class BatchProofJson(_Document, frozen=True):
    batch_id: BatchId
    rest_hash: Octets32
    depth: Depth
    nodes: Nodes26
    block: Unsigned | None = None


class ReadingsJson(_Document, frozen=True):
    items: list[ReadingJson]
    next_cursor: str | None = None
    proofs: list[BatchProofJson] = []


class PageJson(_Document, frozen=True):
    """A page of any other list."""

    items: list[dict[str, Any]]
    next_cursor: str | None = None


class LatestJson(_Document, frozen=True):
    """What is known of one device."""

    device: Octets20
    items: list[dict[str, Any]]


class DeliveryJson(_Document, frozen=True):
    """`error` is the name of the refusal."""

    device: Octets20 | None
    sequence: Unsigned | None
    status: str
    error: str | None = None


class ReceiptJson(_Document, frozen=True):
    """`of`: spans of results, each from the first to behind the last. `receipt` in base64, or
    `missing`: the name of the reason why there is none."""

    of: list[tuple[Unsigned, Unsigned]]
    receipt: bytes | None = None
    missing: str | None = None


class DeliveriesJson(_Document, frozen=True):
    results: list[DeliveryJson]
    receipts: list[ReceiptJson] = []


class SequenceJson(_Document, frozen=True):
    next: Unsigned


class ProblemJson(_Document, frozen=True):
    """RFC 9457; every member is optional."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""


def octets(text: str) -> bytes:
    """Bytes of a field whose pattern was checked."""
    return bytes.fromhex(text[2:])


def cut(packed: bytes, size: int) -> tuple[bytes, ...]:
    """Each so many bytes."""
    return tuple(packed[at : at + size] for at in range(0, len(packed), size))


def parse(document: Any, kind: type[T], what: str) -> T:
    """A decoded JSON value as its type. Raises MalformedAnswer."""
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise MalformedAnswer(f"not {what}: {error}") from error


def object_of(document: Any, what: str) -> dict[str, Any]:
    """A JSON object, as it stands. Raises MalformedAnswer."""
    return parse(document, dict[str, Any], what)
