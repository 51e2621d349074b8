"""Which state of the chain a question is about: what the clients send, refuse and raise.

given a client and a server that notes what it is asked
  the parameters go with every question that takes them, in the form of the API
  what is none, or no value of it, is refused before anything is sent
given an index that is not there yet
  NotMirrored is raised, by its type
"""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any, cast

import pytest
from support.batches import CELL, KEYS, START
from support.http import Script, answers

from corechain import AsyncClient, Client, InvalidValue, flows, index_flows
from corechain.protocol.errors import CoreChainError, NotMirrored
from corechain.readings import ReadingsQuestion
from corechain.steps import Request
from corechain.views import Fresh, View, view_params

DEVICE, HASH = KEYS[0].identity.device, bytes(range(32))
VIEW: View = {"finality": "safe", "as_of": 7, "min_block": 3, "after_tx": HASH}
FRESH: Fresh = {"min_block": 3, "after_tx": HASH}
SENT = {"finality": "safe", "as_of": 7, "min_block": 3, "after_tx": "0x" + HASH.hex()}
SENT_FRESH = {name: SENT[name] for name in FRESH}
QUESTION = flows.Question.of(1, DEVICE, CELL, START, START + 1)
ASKED: dict[str, tuple[Any, dict[str, Any]]] = {
    "batches": (lambda: index_flows.batches(5, VIEW), SENT | {"limit": 5}),
    "latest": (lambda: index_flows.latest(DEVICE, VIEW), SENT | {"device": "0x" + DEVICE.hex()}),
    "readings": (
        lambda: flows.readings(ReadingsQuestion(DEVICE), 5, None, VIEW),
        SENT | {"device": "0x" + DEVICE.hex(), "limit": 5},
    ),
    "statistics": (
        lambda: flows.statistics(QUESTION, None, VIEW),
        SENT | QUESTION.params(),
    ),
    "status": (lambda: index_flows.status(FRESH), SENT_FRESH),
    "batch": (lambda: index_flows.batch(1, FRESH), SENT_FRESH),
    "devices": (lambda: index_flows.devices(5, FRESH), SENT_FRESH | {"limit": 5}),
    "rejections": (lambda: index_flows.rejections(1, 5, FRESH), SENT_FRESH | {"limit": 5}),
    "reading": (lambda: flows.proven_reading(1, 3, dict, FRESH), SENT_FRESH),
    "reward_claim": (lambda: flows.reward_claim(DEVICE, None, FRESH), SENT_FRESH),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_parameters_go_with_the_question(name: str) -> None:
    flow, expected = ASKED[name]
    request = next(flow())
    assert isinstance(request, Request)
    assert request.params == expected


@pytest.mark.parametrize("name", ASKED)
def test_both_clients_take_them(name: str) -> None:
    for kind in (Client, AsyncClient):
        *_, last = inspect.signature(getattr(kind, name)).parameters.values()
        assert last.kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize(
    "wrong",
    [
        {"finality": "sure"},
        {"finality": 1},
        {"as_of": -1},
        {"as_of": 2**53},
        {"min_block": "soon"},
        {"after_tx": "0x12"},
        {"as_off": 1},
    ],
)
def test_what_is_no_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CoreChainError, match=next(iter(wrong))):
        view_params(wrong)


def test_what_a_question_does_not_take_is_refused() -> None:
    with pytest.raises(InvalidValue, match="finality"):
        view_params(VIEW, Fresh)
    assert view_params({"as_of": None, "min_block": 4}) == {"min_block": 4}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    body = b'{"type":"urn:corechain:error:NotMirrored","detail":"block 9 is not mirrored yet"}'
    with answers(Script(409, body, "application/problem+json")) as running:
        yield running


def test_an_index_that_is_not_there_yet_is_its_own_error(url: str, deployment: Any) -> None:
    with (
        Client(url, url, url, deployment) as client,
        pytest.raises(NotMirrored, match="block 9") as told,
    ):
        client.latest(DEVICE, as_of=9)
    assert told.value.block is None  # what is known is in the sentence

    async def ask() -> None:
        async with AsyncClient(url, url, url, deployment) as client:
            await client.readings(device=cast("Any", DEVICE), min_block=9)

    with pytest.raises(NotMirrored):
        asyncio.run(ask())
