"""Histories: what is not believed of an answer.

given days of readings of three devices, and an API that lies
  a page or a batch that is dropped, doubled or moved is noticed, at the edges too
  readings that are hidden, changed, or another device's, are too
  in whatever place one byte of an answer is changed: nothing else than the truth comes out
"""

import base64
import copy
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import CELL, DAY_S, KEYS, START, days_of_readings, hexed
from support.histories import HistoryApi, HistoryChain, base64_of, header_json, history, question

from corechain.documents import MalformedAnswer, WrongAnswer
from corechain.history_errors import HistoryBehind, HistoryGap, HistoryReorged
from corechain.protocol.errors import (
    CoreChainError,
    InvalidProof,
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
