"""Histories: what is believed of an answer, what is not, and where they go on.

given days of readings of three devices, and an API that answers from them
  any history of it, however it is paged and left, is what counting finds, once
  one commitment of the chain is looked up a page, or one in all where the newest come first
given a chain that is another, or has changed
  a batch that is not on it, or does not follow the one before, is noticed
given what is no history
  it is refused by name, before anything is asked
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import CELL, DAY_S, KEYS, START, days_of_readings
from support.histories import HistoryApi, HistoryChain, history, question

from corechain import cells_in
from corechain.histories import HistoryProgress
from corechain.history_errors import HistoryBehind, HistoryReorged
from corechain.protocol import native
from corechain.protocol.batch import Batch
from corechain.protocol.errors import (
    InvalidProof,
    InvalidValue,
)
from corechain.protocol.reading import Reading

DAYS = 7
BATCHES = days_of_readings(DAYS)
OTHERS = days_of_readings(2)
DEVICES = [key.identity.device for key in KEYS]
END = START + DAYS * DAY_S
LATE = END + DAY_S
Answer = dict[str, Any]
Lie = Callable[[Answer], object]


def counted(**given: Any) -> list[tuple[int, int]]:
    """The oracle: every leaf is looked at."""
    asked = question(**given)
    start, end = asked.window
    return [
        (number, at)
        for number, batch in enumerate(BATCHES, 1)
        for at, reading in enumerate(map(Reading.unpack, batch.leaves))
        if start <= reading.observed_at <= end
        and asked.device in (None, reading.device)
        and (asked.metric is None or asked.metric.code == reading.metric)
        and 10 * number >= asked.since_block
    ]


moments = st.integers(START - DAY_S, END + DAY_S)
questions = st.fixed_dictionaries(
    {
        "metric": st.sampled_from([None, 1, 4]),
        "newest_first": st.booleans(),
        "since_block": st.sampled_from([None, 1, 35, 70]),
    },
    optional={"device": st.sampled_from(DEVICES)},
).map(lambda given: given if "device" in given else given | {"region": CELL})
windows = st.tuples(moments, moments).map(sorted)


@settings(max_examples=25)
@given(questions, windows, st.integers(1, 9), st.integers(250, 900))
def test_any_history_is_what_counting_finds_once(
    asked: Any, window: Any, page: int, step: int
) -> None:
    asked |= {"start": window[0], "end": window[1]}
    api, chain = HistoryApi(BATCHES, page), HistoryChain(BATCHES)
    found: list[Any] = []
    cursor, is_done = None, False
    while not is_done:  # each time a new process
        part = history(api, chain, cursor, **asked)
        found += islice(part, step)
        cursor, is_done = part.cursor, part.is_done
    places = [(one.batch_id, one.position) for one in found]
    assert sorted(places) == counted(**asked)
    for one in found:
        assert one.reading.pack() == BATCHES[one.batch_id - 1].leaves[one.position]
    times = [(one.batch_id, one.reading.observed_at) for one in found]
    assert times == sorted(times, reverse=bool(asked["newest_first"]))


def test_few_commitments_prove_many_batches() -> None:
    api, chain = HistoryApi(BATCHES, 3), HistoryChain(BATCHES)
    assert len(list(history(api, chain, region=CELL))) == len(counted(region=CELL))
    assert chain.asked == [{3}, {6}, {7}]
    chain.asked.clear()
    list(history(api, chain, region=CELL, newest_first=True))
    assert set.union(*chain.asked) == {7}


def test_progress_is_told_after_each_page() -> None:
    told: list[HistoryProgress] = []
    list(history(HistoryApi(BATCHES, 3), HistoryChain(BATCHES), region=CELL, progress=told.append))
    assert [(one.batches, one.left) for one in told] == [(3, 4), (6, 1), (7, 0)]
    assert told[-1].fraction == 1.0
    assert told[-1].readings == len(counted(region=CELL))


# ------------------------------------------------------------------------------ the chain


class Forked(HistoryChain):
    """From a batch on, the chain has others."""

    def __init__(self, batches: Sequence[Batch], first: int) -> None:
        super().__init__(batches)
        self.words |= {number: bytes(26) for number in self.words if number >= first}


def test_what_is_not_on_the_chain_is_not_believed() -> None:
    for newest in (False, True):
        with pytest.raises(InvalidProof):
            list(history(HistoryApi(BATCHES), Forked(BATCHES, 3), region=CELL, newest_first=newest))
    assert list(history(HistoryApi(BATCHES), None, region=CELL)), "verify=False asks no chain"


def test_a_reorganisation_between_two_processes_is_noticed() -> None:
    begun = history(HistoryApi(BATCHES, 1), HistoryChain(BATCHES), region=CELL)
    taken = len(list(islice(begun, len(BATCHES[0].leaves) + 5)))
    header = replace(BATCHES[1].header, window_end=BATCHES[1].header.window_end + 1)
    forked = [BATCHES[0], replace(BATCHES[1], header=header)]
    api, chain = HistoryApi(forked, 1), HistoryChain(forked)
    with pytest.raises(HistoryReorged, match="batch 2"):
        list(history(api, chain, begun.cursor, region=CELL))
    assert taken > len(BATCHES[0].leaves)
    assert len(list(history(api, chain, region=CELL))) == 288, "a new one reads what is there now"


def test_gaps_may_be_reported_instead() -> None:
    few = [batch for batch in BATCHES if batch.header.batch_id not in (3, 4)]
    found = history(HistoryApi(few, 2), HistoryChain(BATCHES), gaps="report", region=CELL)
    assert {one.batch_id for one in found} == {1, 2, 5, 6, 7}
    assert [(gap.first, gap.last) for gap in found.gaps] == [(3, 4)]
    assert found.lanes == {0}


def test_without_the_native_library_the_same_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    from corechain import history_answers

    for name in ("_native_rows", "_native_root"):
        monkeypatch.setattr(history_answers, name, None)
    assert len(list(history(HistoryApi(BATCHES), HistoryChain(BATCHES), region=CELL))) == 1008
    assert native.function("no such function") is None


# ------------------------------------------------------------------------------ questions


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "device"),
        ({"device": DEVICES[0], "start": 5, "end": 4}, "start"),
        ({"device": DEVICES[0], "newest_first": 1}, "newest_first"),
        ({"region": {"type": "Point", "coordinates": [1, 2]}}, "area"),
        ({"region": (50.0, 0.0, 40.0, 1.0)}, "area"),
        ({"region": (0.0, 0.0, 0.0001, 0.0001)}, "region"),
        ({"device": DEVICES[0], "gaps": "never"}, "gaps"),
        ({"device": DEVICES[0], "progress": 5}, "progress"),
        ({"device": DEVICES[0], "cursor": "x"}, "cursor"),
    ],
)
def test_what_is_no_history_is_refused_by_name(given: Any, named: str) -> None:
    api = HistoryApi(BATCHES)
    with pytest.raises(InvalidValue) as refused:
        history(api, None, **given)
    assert refused.value.parameter == named
    assert not api.requests


def test_a_cursor_of_another_question_is_refused() -> None:
    begun = history(HistoryApi(BATCHES), HistoryChain(BATCHES), region=CELL)
    next(begun)
    with pytest.raises(InvalidValue, match="same question"):
        history(HistoryApi(BATCHES), None, begun.cursor, device=DEVICES[0])


def test_an_area_is_the_finest_cells_that_cover_it() -> None:
    box = 40.4, -74.3, 40.9, -73.6
    cells = question(region=box).cells
    assert 1 <= len(cells) <= 64
    assert set(cells) == set(cells_in(box, 6)) or set(cells) == set(cells_in(box, 5))
    ring = [[-74.3, 40.4], [-73.6, 40.4], [-73.6, 40.9], [-74.3, 40.9], [-74.3, 40.4]]
    assert question(region={"type": "Polygon", "coordinates": [ring]}).cells == cells


def test_a_history_goes_on_after_an_error() -> None:
    honest, fails = HistoryApi(BATCHES), [3]

    def answer(request: Any) -> Answer:
        fails[0] -= 1
        if fails[0] == 1:
            raise HistoryBehind(1)
        return honest(request)

    asked = history(answer, HistoryChain(BATCHES), region=CELL)
    found: list[Any] = []
    with pytest.raises(HistoryBehind):
        found.extend(iter(asked.__next__, None))
    found += asked
    assert [(one.batch_id, one.position) for one in found] == [
        (one.batch_id, one.position) for one in history(honest, HistoryChain(BATCHES), region=CELL)
    ]
