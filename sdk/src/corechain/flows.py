"""What the clients do, step by step, without I/O: a flow yields a step and gets its result.

`Client` and `AsyncClient` only carry the steps out, so both do exactly the same.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from corechain.answers import (
    Bounds,
    CommitmentOf,
    MalformedAnswer,
    ProvenReading,
    StatisticsAnswer,
    device_bounds,
    parse_proven_reading,
    parse_reward_claim,
    parse_statistics,
)
from corechain.protocol.errors import (
    CoreChainError,
    InvalidProof,
    NotFound,
    ProtocolError,
    TransportError,
    by_name,
)
from corechain.protocol.reading import DeviceId, Reading, SignedReport
from corechain.protocol.rewards import Owner, RewardClaim, verify_claim
from corechain.protocol.statistics import Statistics
from corechain.protocol.vocabulary import Metric

T = TypeVar("T")
GATEWAY, API = "gateway", "api"
PACKED_REPORTS = "application/vnd.corechain.reports"
PAGE = 1000


class ApiUnavailable(TransportError):
    """No answer from the gateway or the query API, or an answer of a broken server."""


class Refused(ProtocolError):
    """The server refused with a problem that has no class of its own here."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem, self.detail = problem, detail


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request to the gateway or the query API."""

    service: str
    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    content: bytes | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the chain: a blocking function without arguments."""

    question: Callable[[], Any]


Step = Request | Ask
Flow = Generator[Step, Any, T]


def error_of_problem(status: int, document: Mapping[str, Any]) -> CoreChainError:
    """The typed error of a problem document (RFC 9457)."""
    name = str(document.get("type", "")).rpartition(":")[2]
    detail = str(document.get("detail") or document.get("title") or f"HTTP {status}")
    kind = by_name(name)
    if kind is None:
        return Refused(name or f"HTTP {status}", detail)
    error = kind.__new__(kind)
    Exception.__init__(error, detail)
    return error


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the gateway said of one report; `error` is the name of the refusal."""

    device: DeviceId
    sequence: int
    accepted: bool
    error: str | None = None


def _delivery(row: Mapping[str, Any]) -> Delivery:
    device = DeviceId(bytes.fromhex(str(row["device"]).removeprefix("0x")))
    return Delivery(device, int(row["sequence"]), row["status"] == "accepted", row.get("error"))


def send_reports(reports: Sequence[SignedReport]) -> Flow[list[Delivery]]:
    """One request for all reports; returns once the gateway holds them durably."""
    body = b"".join(item.pack() for item in reports)
    answer = yield Request(
        GATEWAY, "POST", "/v1/reports", content=body, content_type=PACKED_REPORTS
    )
    try:
        return [_delivery(row) for row in answer["results"]]
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(f"not a delivery answer: {error!r}") from error


def next_sequence(device: DeviceId) -> Flow[int]:
    answer = yield Request(GATEWAY, "GET", f"/v1/devices/{_hex(device)}/sequence")
    return int(answer["next"])


def document(path: str, **params: str | int | None) -> Flow[dict[str, Any]]:
    """Any document of the query API, as it stands."""
    given = {name: value for name, value in params.items() if value is not None}
    answer: dict[str, Any] = yield Request(API, "GET", path, given)
    return answer


def pages(path: str, params: Mapping[str, str | int], limit: int) -> Flow[list[dict[str, Any]]]:
    """Up to `limit` items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(items) < limit:
        page = {**params, "limit": min(PAGE, limit - len(items))}
        answer = yield Request(
            API, "GET", path, page if cursor is None else page | {"cursor": cursor}
        )
        items.extend(answer["items"])
        cursor = answer.get("next_cursor")
        if cursor is None:
            break
    return items


def proven_reading(batch_id: int, position: int, commitment_of: CommitmentOf) -> Flow[Reading]:
    """One reading, proven against the chain."""
    answer = yield Request(API, "GET", f"/v1/batches/{batch_id}/readings/{position}/proof")
    proven: ProvenReading = parse_proven_reading(answer, batch_id)
    yield Ask(lambda: proven.verify(commitment_of))
    return proven.reading


@dataclass(frozen=True, slots=True)
class Question:
    """Statistics of one metric of one device at one cell, observed in [start, end] seconds."""

    metric: Metric
    device: DeviceId
    cell: int
    start: int
    end: int

    def bounds(self) -> Bounds:
        return device_bounds(self.metric, self.cell, self.device, self.start, self.end)

    def params(self) -> dict[str, str | int]:
        return {
            "metric": self.metric.name,
            "device": _hex(self.device),
            "cell": f"{self.cell:015x}",
            "from": self.start,
            "to": self.end,
        }


@dataclass(frozen=True, slots=True)
class StatisticsResult:
    """Proven statistics in the metric's own unit; `answer` keeps the proofs."""

    metric: Metric
    statistics: Statistics
    answer: StatisticsAnswer

    @property
    def count(self) -> int:
        return self.statistics.count

    @property
    def mean(self) -> float | None:
        """None for an empty range."""
        if not self.count:
            return None
        return self.statistics.sum / self.count / self.metric.scale

    @property
    def min(self) -> float | None:
        return self.metric.from_wire(self.statistics.min) if self.count else None

    @property
    def max(self) -> float | None:
        return self.metric.from_wire(self.statistics.max) if self.count else None


def statistics(question: Question, commitment_of: CommitmentOf | None) -> Flow[StatisticsResult]:
    """Statistics, proven batch by batch unless `commitment_of` is None (trust the API)."""
    answer = yield Request(API, "GET", "/v1/statistics", question.params())
    parsed = parse_statistics(answer)
    if commitment_of is None:
        return StatisticsResult(question.metric, parsed.claimed, parsed)
    verify, window = parsed.verify, (question.start, question.end)
    proven = yield Ask(lambda: verify(commitment_of, [question.bounds()], window))
    return StatisticsResult(question.metric, proven, parsed)


@dataclass(frozen=True, slots=True)
class LocatedReading:
    """A reading and where it stands."""

    batch_id: int
    position: int
    reading: Reading


def _located(row: Mapping[str, Any]) -> LocatedReading:
    reading = Reading(
        int(row["metric"]),
        int(str(row["cell"]), 16),
        DeviceId(bytes.fromhex(str(row["device"]).removeprefix("0x"))),
        int(row["observed_at"]),
        int(row["value"]),
        int(row["flag"]),
    )
    return LocatedReading(int(row["batch_id"]), int(row["position"]), reading)


def readings(
    params: Mapping[str, str | int], limit: int, commitment_of: CommitmentOf | None
) -> Flow[list[LocatedReading]]:
    """Readings, each with its inclusion proof checked unless `commitment_of` is None."""
    rows = yield from pages("/v1/readings", params, limit)
    found = [_located(row) for row in rows]
    if commitment_of is not None:
        yield from _prove_all(found, commitment_of)
    return found


def _prove_all(found: Iterable[LocatedReading], commitment_of: CommitmentOf) -> Flow[None]:
    for item in found:
        proven = yield from proven_reading(item.batch_id, item.position, commitment_of)
        if proven != item.reading:
            raise MalformedAnswer(f"batch {item.batch_id} holds another reading at {item.position}")


ActiveRoot = Callable[[], tuple[int, bytes]]
"""(epoch, root) of the token contract."""


def reward_claim(owner: Owner, active_root: ActiveRoot | None) -> Flow[RewardClaim]:
    """An owner's claim, proven under the root on chain unless `active_root` is None."""
    answer = yield Request(API, "GET", f"/v1/rewards/{_hex(owner)}")
    claim = parse_reward_claim(answer)
    if active_root is not None:
        _, root = yield Ask(active_root)
        verify_claim(root, claim)
    return claim


def rewards_claimable(owner: Owner, active_root: ActiveRoot) -> Flow[bool]:
    """Whether the API serves a claim that the contract would take now."""
    try:
        yield from reward_claim(owner, active_root)
    except (NotFound, InvalidProof):
        return False
    return True
