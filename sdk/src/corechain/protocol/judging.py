"""The quality rules on columns: same verdicts and states as `quality.judge`, which is the oracle.

Rules look back only within a (device, metric) pair. Round r judges the r-th observation of every
pair that has one, all at once; few pairs with many observations are judged one by one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corechain.protocol import quality
from corechain.protocol.columns import Bits, Places
from corechain.protocol.quality import HOUR_S, RUN_GAP_HOURS_MAX, STEP_HOURS_MAX, Reason, State
from corechain.protocol.reading import FAIL, PASS, SUSPECT
from corechain.protocol.vocabulary import METRICS

Numbers = npt.NDArray[np.int64]
ROUND_MIN = 48
"""Below this a round's fixed cost (about 60 numpy calls) exceeds a Python step an observation."""
_NONE = 1 << 40
"""Above any change of a value and any span of time: a limit that is not there."""
_NEVER = -1
_PLACES = np.zeros(1 << 16, np.int64)
"""Metric code → row of the limits. Row 0: no such metric."""
_PLACES[[metric.code for metric in METRICS]] = np.arange(1, len(METRICS) + 1)


def _limits(name: str) -> Numbers:
    found = [getattr(metric, name) for metric in METRICS]
    return np.array([0, *(_NONE if limit is None else limit for limit in found)], np.int64)


_LOW, _HIGH, _STEP_FAIL, _STEP_SUSPECT = map(_limits, ("low", "high", "step_fail", "step_suspect"))
_STILL_S = _limits("still_hours") * HOUR_S
_STILL_S[_STILL_S == 0] = _NONE


@dataclass(frozen=True, slots=True)
class Items:
    """Observations ordered by pair, and within a pair as they are to be judged."""

    metrics: Numbers
    times: Numbers
    values: Numbers
    inconsistent: Bits


@dataclass(frozen=True, slots=True)
class Pairs:
    """Where each pair's observations begin among the items, and its state. `at` -1: none yet.

    The state's columns are moved on in place.
    """

    firsts: Places
    counts: Places
    value: Numbers
    at: Numbers
    run_start: Numbers


def judge_items(items: Items, pairs: Pairs) -> tuple[Numbers, Numbers]:
    """(flags, bits of the reasons), one an item."""
    flags, reasons = np.zeros_like(items.values), np.zeros_like(items.values)
    # Longest first: the pairs of a round are then the first ones of this order.
    longest = np.argsort(-pairs.counts, kind="stable")
    depths = pairs.counts[longest]
    depth = 0
    while True:
        alive = int(np.searchsorted(-depths, -depth))
        if alive < ROUND_MIN:
            break
        chosen = longest[:alive]
        _judge_round(items, pairs, chosen, pairs.firsts[chosen] + depth, flags, reasons)
        depth += 1
    for pair in longest[:alive].tolist():
        _judge_rest(items, pairs, pair, depth, flags, reasons)
    return flags, reasons


def _judge_round(
    items: Items, pairs: Pairs, chosen: Places, at: Places, flags: Numbers, reasons: Numbers
) -> None:
    """One observation of each chosen pair, at these places among the items."""
    row, time, value = _PLACES[items.metrics[at]], items.times[at], items.values[at]
    last, before, since = pairs.value[chosen], pairs.at[chosen], pairs.run_start[chosen]
    has = before != _NEVER
    refused = np.where(has & (time == before), Reason.DUPLICATE, 0)
    refused |= np.where(has & (time < before), Reason.OUT_OF_ORDER, 0)
    refused |= np.where((value < _LOW[row]) | (value > _HIGH[row]), Reason.RANGE, 0)
    refused[row == 0] = Reason.UNKNOWN_METRIC
    hours = np.maximum(1, -(-(time - before) // HOUR_S))
    stepped = has & (hours <= STEP_HOURS_MAX)
    change = np.abs(value - last)
    fails = stepped & (change > _STEP_FAIL[row] * hours)
    odd = np.where(stepped & (change > _STEP_SUSPECT[row] * hours), Reason.STEP, 0)
    runs = has & (value == last) & (time - before <= RUN_GAP_HOURS_MAX * HOUR_S)
    run_start = np.where(runs, since, time)
    odd |= np.where(items.inconsistent[at], Reason.CONSISTENCY, 0)
    odd |= np.where(time - run_start >= _STILL_S[row], Reason.PERSISTENCE, 0)
    found = np.where(refused != 0, refused, np.where(fails, Reason.STEP, odd))
    failed = (refused != 0) | fails
    flags[at] = np.where(failed, FAIL, np.where(found != 0, SUSPECT, PASS))
    reasons[at] = found
    good = ~failed
    moved = chosen[good]
    pairs.value[moved], pairs.at[moved] = value[good], time[good]
    pairs.run_start[moved] = run_start[good]


def _judge_rest(
    items: Items, pairs: Pairs, pair: int, depth: int, flags: Numbers, reasons: Numbers
) -> None:
    """A pair's observations from the one at `depth` on, by the reference."""
    first, end = int(pairs.firsts[pair]) + depth, int(pairs.firsts[pair] + pairs.counts[pair])
    code, at = int(items.metrics[first]), int(pairs.at[pair])
    state = None if at == _NEVER else State(int(pairs.value[pair]), at, int(pairs.run_start[pair]))
    columns = (items.times[first:end], items.values[first:end], items.inconsistent[first:end])
    judged = []
    for time, value, odd in zip(*(column.tolist() for column in columns), strict=True):
        flag, found, state = quality.judge(code, time, value, state, odd)
        judged.append((flag, found))
    flags[first:end], reasons[first:end] = np.array(judged, np.int64).T
    if state is not None:
        pairs.value[pair], pairs.at[pair], pairs.run_start[pair] = state


def inconsistent_of(
    reports: Places,
    metrics: Numbers,
    cells: npt.NDArray[np.uint64],
    times: Numbers,
    values: Numbers,
) -> Bits:
    """Which observations contradict another one of the same report, cell and time. `reports` is the
    report of each observation."""
    dry = _contradicted(quality.DEW_POINT, quality.TEMPERATURE, reports, metrics, cells, times)
    calm = _contradicted(quality.GUST, quality.SPEED, reports, metrics, cells, times)
    odd = np.zeros(len(metrics), np.bool_)
    odd[dry[0]] = values[dry[0]] > values[dry[1]]
    odd[calm[0]] = values[calm[0]] < values[calm[1]]
    return odd


def _contradicted(
    code: int,
    base: int,
    reports: Places,
    metrics: Numbers,
    cells: npt.NDArray[np.uint64],
    times: Numbers,
) -> tuple[Places, Places]:
    """Observations of `code`, and the last one of `base` in the same report, cell and time."""
    there = np.flatnonzero((metrics == code) | (metrics == base))
    is_code = metrics[there] == code
    if is_code.all() or not is_code.any():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    # Within a report, cell and time: first those of `base` in their order, then those of `code`.
    order = np.lexsort((there, is_code, times[there], cells[there], reports[there]))
    there, is_code = there[order], is_code[order]
    fields = reports[there], cells[there], times[there]
    begins = np.ones(len(there), np.bool_)
    begins[1:] = np.logical_or.reduce([field[1:] != field[:-1] for field in fields])
    places = np.arange(len(there))
    group = np.maximum.accumulate(np.where(begins, places, 0))
    newest = np.maximum.accumulate(np.where(is_code, -1, places))
    held = is_code & (newest >= group)
    return there[held], there[newest[held]]
