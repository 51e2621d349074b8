"""What the clients do, step by step, without I/O: a flow yields a step and gets its result.

`Client` and `AsyncClient` only carry the steps out, so both do exactly the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from corechain.answers import (
    Bounds,
    CommitmentsOf,
    ProvenReading,
    StatisticsAnswer,
    device_bounds,
    parse_proven_reading,
    parse_reward_claim,
    parse_statistics,
)
from corechain.documents import MalformedAnswer, SequenceJson, WrongAnswer, parse
from corechain.insisting import page_of_many
from corechain.listing import (
    API,
    GATEWAY,
    PAGE,
    Page,
    batch_path,
    cursor_text,
    limit_of,
    page_params,
)
from corechain.protocol.errors import (
    InvalidProof,
    InvalidValue,
    NotFound,
)
from corechain.protocol.places import cell as place
from corechain.protocol.reading import DeviceId
from corechain.protocol.rewards import Owner, RewardClaim, verify_claim
from corechain.protocol.statistics import Statistics
from corechain.protocol.values import (
    U32_MAX,
    U48_MAX,
    U64_MAX,
    CellLike,
    OctetsLike,
    TimeLike,
    address,
    seconds,
    whole,
)
from corechain.protocol.vocabulary import Metric, MetricLike
from corechain.protocol.vocabulary import metric as metric_of
from corechain.readings import LocatedReading, ReadingsQuestion, parse_page
from corechain.steps import Ask, Flow, Request
from corechain.views import Fresh, View, view_params


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def next_sequence(device: OctetsLike) -> Flow[int]:
    path = f"/v1/devices/{_hex(address('device', device))}/sequence"
    answer = yield Request(GATEWAY, "GET", path)
    found = parse(answer, SequenceJson, "a sequence answer").next
    if found > U64_MAX:
        raise MalformedAnswer(f"the next sequence number {found} has more than 64 bits")
    return found


def proven_reading(
    batch_id: int, position: int, commitments_of: CommitmentsOf, fresh: Fresh | None = None
) -> Flow[ProvenReading]:
    """One reading with its proof, proven against the chain."""
    position = whole("position", position, 0, U32_MAX)
    path = f"{batch_path(batch_id)}/readings/{position}/proof"
    answer = yield Request(API, "GET", path, view_params(fresh or {}, Fresh))
    batch_id = whole("batch_id", batch_id, 1, U48_MAX)
    proven: ProvenReading = parse_proven_reading(answer, batch_id)
    if proven.position != position:
        raise WrongAnswer(f"the reading at {proven.position}, not at {position}")
    commitments = yield Ask(lambda: commitments_of({batch_id: proven.block}))
    proven.verify(commitments.__getitem__)
    return proven


@dataclass(frozen=True, slots=True)
class Question:
    """Statistics of one metric of one device at one cell, observed in [start, end] seconds."""

    metric: Metric
    device: DeviceId
    cell: int
    start: int
    end: int

    @classmethod
    def of(
        cls, metric: MetricLike, device: OctetsLike, cell: CellLike, start: TimeLike, end: TimeLike
    ) -> "Question":
        """From what users have: names, hex, degrees, datetimes. The constructor takes them, too;
        this one says so to a type checker. Raises InvalidValue, ValueOutOfRange, UnknownMetric,
        InvalidCell."""
        given: Any = (metric, device, cell, start, end)
        return cls(*given)

    def __post_init__(self) -> None:
        found = {
            "metric": metric_of(self.metric),
            "device": DeviceId(address("device", self.device)),
            "cell": place("cell", self.cell),
            "start": seconds("start", self.start),
            "end": seconds("end", self.end),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)
        if self.start > self.end:
            raise InvalidValue("start", self.start, f"is not after the end, {self.end}")

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


def statistics(
    question: Question, commitments_of: CommitmentsOf | None, view: View | None = None
) -> Flow[StatisticsResult]:
    """Statistics, proven batch by batch unless `commitments_of` is None (trust the API)."""
    params = question.params() | view_params(view or {})
    answer = yield Request(API, "GET", "/v1/statistics", params)
    parsed = parse_statistics(answer)
    if commitments_of is None:
        return StatisticsResult(question.metric, parsed.claimed, parsed)
    window = question.start, question.end
    commitments = yield Ask(lambda: commitments_of(parsed.batches))
    proven = parsed.verify(commitments.__getitem__, [question.bounds()], window)
    return StatisticsResult(question.metric, proven, parsed)


def readings(
    question: ReadingsQuestion,
    limit: int,
    commitments_of: CommitmentsOf | None,
    view: View | None = None,
    cursor: str | None = None,
) -> Flow[Page[LocatedReading]]:
    """Readings, page by page, each page proven at once unless `commitments_of` is None."""
    limit, cursor = limit_of(limit), cursor_text(cursor)
    params = question.params() | view_params(view or {})
    if commitments_of is not None:
        params["proofs"] = "true"
    found: list[LocatedReading] = []
    known: dict[int, bytes] = {}
    while len(found) < limit:
        wanted = min(PAGE, limit - len(found))
        asked = Request(API, "GET", "/v1/readings", page_params(params, wanted, cursor))
        answer = yield from page_of_many(asked)
        page = parse_page(answer)
        page.check(question, wanted, found[-1] if found else None)
        if commitments_of is not None:
            yield Ask(partial(page.verify, known, commitments_of))
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    return Page(found, cursor)


ActiveRoot = Callable[[], tuple[int, bytes]]
"""(epoch, root) of the token contract."""


def reward_claim(
    owner: OctetsLike, active_root: ActiveRoot | None, fresh: Fresh | None = None
) -> Flow[RewardClaim]:
    """An owner's claim, proven under the root on chain unless `active_root` is None."""
    wanted = Owner(address("owner", owner))
    params = view_params(fresh or {}, Fresh)
    answer = yield Request(API, "GET", f"/v1/rewards/{_hex(wanted)}", params)
    claim = parse_reward_claim(answer)
    if claim.owner != wanted:
        raise WrongAnswer(f"the claim of {_hex(claim.owner)}, not of {_hex(wanted)}")
    if active_root is not None:
        _, root = yield Ask(active_root)
        verify_claim(root, claim)
    return claim


def rewards_claimable(
    owner: OctetsLike, active_root: ActiveRoot, claimed_of: Callable[[Owner], int]
) -> Flow[bool]:
    """Whether the API serves a claim that the contract would take now: a proven one, and for more
    than the contract has paid already."""
    try:
        claim = yield from reward_claim(owner, active_root)
    except (NotFound, InvalidProof):
        return False
    claimed: int = yield Ask(lambda: claimed_of(claim.owner))
    return claim.cumulative > claimed
