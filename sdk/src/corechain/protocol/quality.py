"""Integer quality rules. Raw values are never changed: a verdict stands beside them.

Applied per (device, metric) in order of (sequence, position in the report). Thresholds per metric
are in the vocabulary; RULES_HASH covers thresholds and rules, and stands in every batch header.
Sources: WMO hourly tolerances, MADIS temporal consistency, QARTOD flags (docs/protocol.md).
"""

from collections.abc import Mapping, MutableMapping
from enum import IntFlag
from typing import NamedTuple

from corechain.protocol import vocabulary
from corechain.protocol.hashing import keccak
from corechain.protocol.reading import FAIL, PASS, SUSPECT, DeviceId, Report, unpack_observations
from corechain.protocol.vocabulary import BY_CODE, Metric

HOUR_S = 3600
STEP_HOURS_MAX = 12
"""A step over a longer gap than this says nothing and is not judged."""
RUN_GAP_HOURS_MAX = 3
"""A longer silence ends a run of equal values."""

RULES_HASH = keccak(
    b"CoreChain rules 1: range fails; duplicate and out-of-order fail; "
    b"step per started hour up to 12 fails or is suspect; "
    b"equal values over still_hours without a gap over 3 hours are suspect; "
    b"dew point above air temperature and gust below wind speed are suspect\n"
    + vocabulary.canonical_table()
)


class Reason(IntFlag):
    """Why an observation is not simply a pass. Bits of the data file's verdicts."""

    RANGE = 1
    STEP = 2
    PERSISTENCE = 4
    CONSISTENCY = 8
    DUPLICATE = 16
    OUT_OF_ORDER = 32
    UNKNOWN_METRIC = 64


class State(NamedTuple):
    """The last accepted value of a (device, metric) and since when it has stood still; seconds."""

    value: int
    at: int
    run_start: int


class Verdict(NamedTuple):
    flag: int
    reasons: Reason


StateKey = tuple[DeviceId, int]
# Plain integers where every observation passes: an IntFlag's `|` makes a Python call each.
_RANGE, _STEP, _PERSISTENCE, _CONSISTENCY = map(int, list(Reason)[:4])
_DUPLICATE, _OUT_OF_ORDER, _UNKNOWN_METRIC = map(int, list(Reason)[4:])
_REASONS = tuple(Reason(bits) for bits in range(128))
DEW_POINT, TEMPERATURE, GUST, SPEED = 2, 1, 6, 5


def _order(state: State | None, at: int) -> int:
    if state is None or at > state.at:
        return 0
    return _DUPLICATE if at == state.at else _OUT_OF_ORDER


def _step(metric: Metric, state: State | None, at: int, value: int) -> tuple[int, bool]:
    """(reasons, whether it fails). The tolerance grows with every started hour of the gap."""
    if state is None:
        return 0, False
    hours = max(1, -(-(at - state.at) // HOUR_S))
    change = abs(value - state.value)
    if hours > STEP_HOURS_MAX:
        return 0, False
    if metric.step_fail is not None and change > metric.step_fail * hours:
        return _STEP, True
    if metric.step_suspect is not None and change > metric.step_suspect * hours:
        return _STEP, False
    return 0, False


def _run_start(state: State | None, at: int, value: int) -> int:
    if state is None or value != state.value or at - state.at > RUN_GAP_HOURS_MAX * HOUR_S:
        return at
    return state.run_start


def judge(
    code: int, at: int, value: int, state: State | None, inconsistent: bool
) -> tuple[int, int, State | None]:
    """(flag, bits of the reasons, state after) of one observation."""
    metric = BY_CODE.get(code)
    if metric is None:
        return FAIL, _UNKNOWN_METRIC, state
    reasons = _order(state, at)
    if not metric.low <= value <= metric.high:
        reasons |= _RANGE
    if reasons:
        return FAIL, reasons, state
    reasons, fails = _step(metric, state, at, value)
    if fails:
        return FAIL, reasons, state
    run_start = _run_start(state, at, value)
    if inconsistent:
        reasons |= _CONSISTENCY
    if metric.still_hours and at - run_start >= metric.still_hours * HOUR_S:
        reasons |= _PERSISTENCE
    return SUSPECT if reasons else PASS, reasons, State(value, at, run_start)


def _inconsistent(
    code: int, cell: int, at: int, value: int, seen: Mapping[tuple[int, int, int], int]
) -> bool:
    """Against the raw values of the same report: order in the report must not matter."""
    if code == DEW_POINT:
        return value > seen.get((TEMPERATURE, cell, at), value)
    if code == GUST:
        return value < seen.get((SPEED, cell, at), value)
    return False


def judge_report(report: Report, states: MutableMapping[StateKey, State]) -> list[Verdict]:
    """Verdicts of a report's observations, in order. Moves `states` on past what was accepted."""
    items = list(unpack_observations(report.packed))
    seen = {(code, cell, at): value for code, cell, at, value in items}
    verdicts = []
    for code, cell, at, value in items:
        key = (report.device, code)
        odd = _inconsistent(code, cell, at, value, seen)
        flag, reasons, state = judge(code, at, value, states.get(key), odd)
        if state is not None:
            states[key] = state
        verdicts.append(Verdict(flag, _REASONS[reasons]))
    return verdicts
