"""Readings in bulk: one request a page, every row proven, nothing believed.

given a chain with four batches and an API
  ├── an honest one is asked once a page, the chain once a batch
  ├── a row, proof or position that was changed, added, left out or moved is refused
  ├── an answer to another question, out of order, repeated or too long is refused
  └── so is one that never ends
"""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import (
    DAY_S,
    HOUR_S,
    KEYS,
    START,
    HonestApi,
    commitments_of,
    days_of_readings,
)
from support.flows import carried_out

from corechain import flows
from corechain.documents import MalformedAnswer, WrongAnswer
from corechain.protocol.errors import InvalidProof, ProtocolError, UnknownBatch
from corechain.protocol.vocabulary import metric
from corechain.readings import ReadingsQuestion
from corechain.steps import Request

DEVICE = KEYS[1].identity.device
BATCHES = days_of_readings(4)
QUESTION = ReadingsQuestion(
    DEVICE, metric("air_temperature"), START + 6 * HOUR_S, START + 3 * DAY_S
)
ROWS = 3 * 24 + 1 - 6


def ask(api, question=QUESTION, limit=1000, chain=None):
    chain = chain or commitments_of(BATCHES)
    return carried_out(flows.readings(question, limit, chain), api)


def test_an_honest_answer_is_proven_with_one_request_and_one_look_at_the_chain():
    api, chain = HonestApi(BATCHES), commitments_of(BATCHES)
    found = ask(api, chain=chain)
    assert len(found) == ROWS
    assert len(api.requests) == 1
    assert chain.asked == [{1, 2, 3, 4}]
    assert [item.reading.observed_at for item in found] == sorted(
        item.reading.observed_at for item in found
    )


def test_pages_are_asked_once_each_and_batches_looked_up_once(monkeypatch):
    monkeypatch.setattr(flows, "PAGE", 10)
    api, chain = HonestApi(BATCHES), commitments_of(BATCHES)
    found = ask(api, chain=chain)
    assert len(found) == ROWS
    assert len(api.requests) == ROWS // 10 + 1
    assert sorted(batch for asked in chain.asked for batch in asked) == [1, 2, 3, 4]


def test_without_verification_no_proof_is_asked_for():
    api = HonestApi(BATCHES)
    unproven = carried_out(flows.readings(QUESTION, 1000, None), api)
    assert unproven == ask(HonestApi(BATCHES))
    assert "proofs" not in api.requests[0].params


@pytest.mark.parametrize("limit", [1, 7, 48])
def test_no_more_than_the_limit_comes_back(limit):
    assert ask(HonestApi(BATCHES), limit=limit) == ask(HonestApi(BATCHES))[:limit]


def test_all_metrics_and_all_times_are_proven_too():
    found = ask(HonestApi(BATCHES), ReadingsQuestion(DEVICE))
    assert len(found) == 4 * 48


class Liar:
    """An honest API whose answers are changed on the way."""

    def __init__(self, change):
        self.api, self.change = HonestApi(BATCHES), change

    def __call__(self, request):
        answer = copy.deepcopy(self.api(request))
        self.change(answer)
        return answer


def refused(change, *kinds):
    with pytest.raises(kinds or ProtocolError):
        ask(Liar(change))


@given(
    st.integers(0, ROWS - 1),
    st.sampled_from(["batch_id", "position", "cell", "observed_at", "value", "flag"]),
    st.integers(1, 3),
)
def test_a_row_that_was_changed_is_refused(row, field, by):
    def change(answer):
        item = answer["items"][row]
        old = item[field]
        item[field] = f"{int(old, 16) ^ by:015x}" if field == "cell" else old + by

    refused(change, InvalidProof, WrongAnswer, UnknownBatch)


@given(st.integers(0, ROWS - 1))
def test_a_row_that_was_left_out_of_the_items_only_is_refused(row):
    refused(lambda answer: answer["items"].pop(row), InvalidProof)


@given(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1))
def test_a_row_that_stands_twice_or_elsewhere_is_refused(one, other):
    refused(lambda answer: answer["items"].insert(other, answer["items"][one]), WrongAnswer)
    if one != other:

        def swap(answer):
            items = answer["items"]
            items[one], items[other] = items[other], items[one]

        refused(swap, WrongAnswer)


@given(st.integers(0, 3), st.data())
def test_a_proof_that_was_changed_is_refused(index, data):
    name = data.draw(st.sampled_from(["nodes", "rest_hash", "depth", "batch_id"]))

    def change(answer):
        proof = answer["proofs"][index]
        if name in ("depth", "batch_id"):
            proof[name] += data.draw(st.integers(1, 3))
            return
        at = data.draw(st.integers(2, len(proof[name]) - 1))
        digit = "0" if proof[name][at] != "0" else "1"
        proof[name] = proof[name][:at] + digit + proof[name][at + 1 :]

    refused(change, InvalidProof, MalformedAnswer)


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.pop("proofs"),
        lambda answer: answer["proofs"].pop(),
        lambda answer: answer["proofs"].append(answer["proofs"][0]),
        lambda answer: answer["proofs"].append(answer["proofs"][0] | {"batch_id": 9}),
        lambda answer: answer["proofs"][0].update(nodes=answer["proofs"][0]["nodes"][:-52]),
        lambda answer: answer["proofs"][0].update(nodes=answer["proofs"][0]["nodes"] + "00" * 26),
        lambda answer: answer["proofs"][0].update(nodes=answer["proofs"][0]["nodes"][:-2]),
    ],
)
def test_a_proof_that_is_missing_left_over_or_cut_is_refused(change):
    refused(change, InvalidProof, MalformedAnswer)


def test_a_batch_that_the_chain_does_not_know_is_refused():
    with pytest.raises(UnknownBatch):
        ask(HonestApi(BATCHES), chain=commitments_of(BATCHES[:3]))


@pytest.mark.parametrize(
    ("other", "limit"),
    [
        ({"device": "0x" + KEYS[0].identity.device.hex()}, 12),
        ({"metric": "pressure"}, 12),
        ({"from": START}, 12),
        ({"to": START + 4 * DAY_S}, ROWS + 1),
        ({"limit": 1000}, 12),
    ],
)
@pytest.mark.parametrize("proven", [True, False])
def test_an_answer_to_another_question_is_refused_proven_or_not(other, limit, proven):
    """Each of these rows is in its batch and has a good proof; nobody asked for it."""
    api, chain = HonestApi(BATCHES), commitments_of(BATCHES) if proven else None

    def deaf(request):
        params = {**request.params, **other}
        return api(Request(flows.API, "GET", request.path, params))

    with pytest.raises(WrongAnswer):
        carried_out(flows.readings(QUESTION, limit, chain), deaf)


def test_an_empty_page_that_says_there_is_more_is_refused():
    with pytest.raises(WrongAnswer):
        ask(lambda request: {"items": [], "next_cursor": "x", "proofs": []})


def test_a_page_that_comes_again_and_again_is_refused():
    first = HonestApi(BATCHES)

    def stuck(request):
        params = {name: v for name, v in request.params.items() if name != "cursor"}
        answer = first(Request(flows.API, "GET", request.path, params | {"limit": 5}))
        return answer | {"next_cursor": "5"}

    with pytest.raises(WrongAnswer):
        ask(stuck)
