"""Histories: what is believed of an answer, what is not, and where they go on.

given days of readings of three devices, and an API that answers from them
  any history of it, however it is paged and left, is what counting finds, once
  one commitment of the chain is looked up a page, or one in all where the newest come first
given an API that lies
  a page or a batch that is dropped, doubled or moved is noticed, at the edges too
  readings that are hidden, changed, or another device's, are too
  a batch that is not on the chain, or does not follow the one before, is too
  in whatever place one byte of an answer is changed: nothing else than the truth comes out
given what is no history
  it is refused by name, before anything is asked
"""

import base64
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import CELL, DAY_S, KEYS, START, days_of_readings, hexed
from support.flows import carried_out
from support.histories import HistoryApi, HistoryChain, base64_of, header_json

from corechain import cells_in
from corechain.documents import MalformedAnswer, WrongAnswer
from corechain.histories import History, HistoryProgress
from corechain.history_errors import HistoryBehind, HistoryGap, HistoryReorged
from corechain.history_question import HistoryQuestion
from corechain.protocol import native
from corechain.protocol.batch import Batch
from corechain.protocol.errors import (
    CoreChainError,
    InvalidProof,
    InvalidValue,
    RangeIncomplete,
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


def question(**given: Any) -> HistoryQuestion:
    names = {"device": None, "metric": None, "start": None, "end": None, "region": None}
    names |= {"newest_first": False, "since_block": None, "resolution": 7}
    return HistoryQuestion.of(*(names | given).values(), given.pop("view", {}))


def history(
    api: Callable[[Any], Any],
    chain: Any,
    cursor: str | None = None,
    gaps: Any = "raise",
    progress: Any = None,
    **given: Any,
) -> History:
    stand = question(**given), cursor, gaps, progress, lambda: chain
    return History(lambda flow: carried_out(flow, api), stand)


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


# ---------------------------------------------------------------------------------- lies

ASKED = {"device": DEVICES[1], "metric": 1, "start": START + DAY_S + 5, "end": START + 5 * DAY_S}


def lying(lie: Lie, page: int = 9, **given: Any) -> list[Any]:
    honest = HistoryApi(BATCHES, page)

    def answer(request: Any) -> Answer:
        found: Answer = copy.deepcopy(honest(request))
        lie(found)
        return found

    return list(history(answer, HistoryChain(BATCHES), **(ASKED | given)))


def truth(**given: Any) -> list[tuple[int, int]]:
    return counted(**(ASKED | given))


def packed(item: Answer) -> list[bytes]:
    leaves = base64.b64decode(item["leaves"])
    return [leaves[at : at + 40] for at in range(0, len(leaves), 40)]


def dropped(at: int) -> Lie:
    return lambda answer: answer["batches"].pop(at)


def doubled(answer: Answer) -> None:
    answer["batches"].insert(2, answer["batches"][2])


def reordered(answer: Answer) -> None:
    answer["batches"][2:4] = answer["batches"][2:4][::-1]


def cut_before(answer: Answer) -> None:
    del answer["batches"][:2]


def cut_behind(answer: Answer) -> None:
    del answer["batches"][-2:]


def emptied(answer: Answer) -> None:
    answer["batches"].clear()


def only_before(answer: Answer) -> None:
    """What lies before the time is shown, as if nothing followed."""
    del answer["batches"][1:]


def only_behind(answer: Answer) -> None:
    del answer["batches"][:-1]


def hidden(answer: Answer) -> None:
    """A range is said to end one reading earlier."""
    start, end = answer["batches"][2]["ranges"][0]
    answer["batches"][2]["ranges"] = [(start, end - 1)]
    answer["batches"][2]["leaves"] = base64_of(b"".join(packed(answer["batches"][2])[:-1]))


def passed_over(answer: Answer) -> None:
    """A batch of the time shows its header alone."""
    answer["batches"][2] |= {"ranges": [], "leaves": "", "nodes": ""}


def of_another_device(answer: Answer) -> None:
    other = HistoryApi(BATCHES, 9)(
        type("Asked", (), {"params": question(**(ASKED | {"device": DEVICES[2]})).params()})()
    )
    answer["batches"] = other["batches"]


def changed_value(answer: Answer) -> None:
    leaves = bytearray(base64.b64decode(answer["batches"][2]["leaves"]))
    leaves[78] ^= 1
    answer["batches"][2]["leaves"] = base64_of(bytes(leaves))


def other_header(answer: Answer) -> None:
    answer["batches"][2]["header"]["window_end"] += 1


def other_number(answer: Answer) -> None:
    answer["batches"][2]["batch_id"] += 1


def other_cells(answer: Answer) -> None:
    answer["cells"] = ["872a10728ffffff"]


def endless(answer: Answer) -> None:
    answer["batches"], answer["next_cursor"] = [], "x"


LIES: list[tuple[Lie, type[CoreChainError]]] = [
    *((dropped(at), HistoryGap) for at in (1, 2, 3)),
    (doubled, WrongAnswer),
    (reordered, HistoryGap),
    (cut_before, HistoryGap),
    (cut_behind, HistoryBehind),
    (emptied, HistoryBehind),
    (only_before, HistoryBehind),
    (only_behind, HistoryGap),
    (hidden, CoreChainError),
    (passed_over, RangeIncomplete),
    (of_another_device, RangeIncomplete),
    (changed_value, InvalidProof),
    (other_header, HistoryReorged),
    (other_number, MalformedAnswer),
    (endless, WrongAnswer),
]


@pytest.mark.parametrize(("lie", "error"), LIES)
def test_a_lying_api_is_caught(lie: Lie, error: type[CoreChainError]) -> None:
    with pytest.raises(error):
        lying(lie)


@pytest.mark.parametrize("lie", [cut_before, cut_behind, doubled, dropped(2), emptied, only_before])
def test_a_lie_about_the_newest_first_is_caught_too(lie: Lie) -> None:
    with pytest.raises((HistoryGap, HistoryBehind, WrongAnswer)):
        lying(lie, newest_first=True)


def test_cells_that_were_named_are_those_of_the_answer() -> None:
    with pytest.raises(WrongAnswer):
        lying(other_cells, region=[CELL])


@settings(max_examples=40)
@given(st.data())
def test_pages_that_are_dropped_doubled_or_moved_are_noticed(data: st.DataObject) -> None:
    """Whatever pages come in place of those that were asked for: the truth, or an error."""
    honest = HistoryApi(BATCHES, 2)
    newest = data.draw(st.booleans())
    cursors = [None, "2", "3", "4", "5", "6", "7"]

    def answer(request: Any) -> Answer:
        params = dict(request.params)
        cursor = data.draw(st.sampled_from([params.get("cursor"), *cursors]))
        params.pop("cursor", None)
        changed = params if cursor is None else params | {"cursor": cursor}
        found = honest(type("Asked", (), {"params": changed})())
        if data.draw(st.booleans()):
            found["next_cursor"] = data.draw(st.sampled_from([None, *cursors[1:]]))
        return found

    asked = {"region": CELL, "metric": 4, "end": LATE, "newest_first": newest}
    try:
        found = list(islice(history(answer, HistoryChain(BATCHES), **asked), 2_000))
    except (CoreChainError, ValueError):
        return
    assert sorted((one.batch_id, one.position) for one in found) == counted(**asked)


@settings(max_examples=100)
@given(st.data())
def test_whatever_is_changed_nothing_but_the_truth_comes_out(data: st.DataObject) -> None:
    def lie(answer: Answer) -> None:
        item = data.draw(st.sampled_from(answer["batches"]))
        name = data.draw(st.sampled_from(["ranges", "leaves", "nodes", "readings_root", "header"]))
        if name in ("leaves", "nodes"):
            octets = bytearray(base64.b64decode(item[name]))
            if not octets:
                return
            octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
            item[name] = base64_of(bytes(octets))
        elif name == "ranges" and item["ranges"]:
            item["ranges"] = [tuple(data.draw(st.integers(0, 145)) for _ in "ab")]
        else:
            other = data.draw(st.sampled_from([*BATCHES, *OTHERS]))
            shown = {"header": header_json(other), "readings_root": hexed(other.readings.root)}
            item |= {name: shown.get(name, item[name])}

    try:
        found = lying(lie)
    except CoreChainError:
        return
    assert sorted((one.batch_id, one.position) for one in found) == truth()


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
    with pytest.raises(InvalidProof):
        lying(changed_value)
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
