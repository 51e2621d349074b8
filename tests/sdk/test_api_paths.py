"""The clients reach all that the query API has.

given the API's own document and a client that notes what it would send
  ├── each path is asked by a method, with each parameter that the path takes
  └── what is left out is listed here, with the reason
"""

import re
from collections import defaultdict
from typing import Any

import pytest
from support.batches import CELL, KEYS, START

from corechain import Client, Deployment, account_from_key
from corechain.deployment import DeployedContract
from corechain.devnet.settings import ADMIN_KEY
from corechain.protocol.errors import TransportError
from corechain.steps import Request
from corechain.streaming import EventStream
from corechain_indexer.api.openapi import document
from corechain_indexer.api.routes import ENDPOINTS

DEVICE, ID = KEYS[0].identity.device, bytes(32)
FRESH: Any = {"min_block": 1, "after_tx": ID}
VIEW: Any = FRESH | {"finality": "safe", "as_of": 1}
PAGE: Any = {"limit": 1, "cursor": "x"}
WINDOW: Any = {"metric": 1, "device": DEVICE, "start": START, "end": START + 1}
CONTRACTS = dict.fromkeys(["PaymentChannels", "StateChannels"], DeployedContract("", DEVICE, 1))
LEFT_OUT = {
    "/sensorthings/v1.1": "read by clients of that standard",
    "/sensorthings/v1.1/{resource}": "read by clients of that standard",
    "/v1/batches/stream": "the same as /v1/events",
}
AT_THE_SECOND_PAGE = {("/v1/history", "cursor")}
OTHERS_HAVE = {
    "format": "forms for pandas and DuckDB, which ask by themselves",
    "Last-Event-ID": "the same as since",
    "first_batch": "asked by contract_answer, once the batches are known",
    "last_batch": "asked by contract_answer, once the batches are known",
}


class Asked(TransportError):
    """In the place of an answer."""


class Noting(Client):
    """Sends nothing."""

    def __init__(self) -> None:
        url = "http://127.0.0.1:1"
        account = account_from_key(ADMIN_KEY)
        super().__init__(url, url, url, Deployment(31337, CONTRACTS), account)
        self.asked: list[Request] = []

    def run(self, flow: Any) -> Any:
        self.asked.append(next(flow))
        raise Asked


QUESTIONS: list[Any] = [
    lambda c: c.status(**FRESH),
    lambda c: c.network(**FRESH),
    lambda c: c.devices(**PAGE, **FRESH),
    lambda c: c.device(DEVICE, **FRESH),
    lambda c: c.batches(**PAGE, after=1, state="verified", newest_first=True, **VIEW),
    lambda c: c.batch(1, **FRESH),
    lambda c: c.rejections(1, **PAGE, **FRESH),
    lambda c: c.reading(1, 0, **FRESH),
    lambda c: c.readings(**WINDOW, **PAGE, **VIEW),
    lambda c: c.statistics(**WINDOW, cell=CELL, **VIEW),
    lambda c: c.region_statistics(1, CELL, START, START + 1, 7, **VIEW),
    lambda c: next(c.history(**WINDOW, region=CELL, newest_first=True, since_block=1, **VIEW)),
    lambda c: next(c.history(region=CELL, resolution=8)),
    lambda c: c.series(**WINDOW, limit=1, **VIEW),
    lambda c: c.latest(DEVICE, **VIEW),
    lambda c: c.stations(1, **PAGE, **FRESH),
    lambda c: c.reward_claim(DEVICE, **FRESH),
    lambda c: c.epochs(**PAGE, **FRESH),
    lambda c: c.payment_channels(DEVICE, **PAGE, **FRESH),
    lambda c: c.state_channels(DEVICE, **PAGE, **FRESH),
    lambda c: c.find_channel(ID, **FRESH),
]


def path_of(address: str, paths: list[str]) -> str:
    """The document's path that an address is of; the more literal one of two."""

    def fits(path: str) -> bool:
        return re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), address) is not None

    return min((path for path in paths if fits(path)), key=lambda path: path.count("{"))


def sent() -> dict[str, set[str]]:
    """The parameters that went to each path of the document."""
    client, found = Noting(), defaultdict[str, set[str]](set)
    for question in QUESTIONS:
        with pytest.raises(Asked):
            question(client)
    paths = list(DOCUMENT["paths"])
    for request in client.asked:
        found[path_of(request.path, paths)] |= request.params.keys()
    only: Any = {"device": DEVICE, "metric": 1, "cell": CELL}
    stream = client.stream("x" * 24, finality="finalised", **only)
    assert isinstance(stream, EventStream)
    found["/v1/events"] = set(stream._state.question()["params"])
    return found


DOCUMENT = document(ENDPOINTS, "0")


def test_each_path_of_the_api_is_asked_by_a_method() -> None:
    assert sent().keys() == DOCUMENT["paths"].keys() - LEFT_OUT.keys()


def test_each_parameter_of_a_path_is_one_of_its_method() -> None:
    for path, names in sent().items():
        taken = {
            each["name"]
            for each in DOCUMENT["paths"][path]["get"]["parameters"]
            if each["in"] != "path" and (path, each["name"]) not in AT_THE_SECOND_PAGE
        }
        assert names >= taken - OTHERS_HAVE.keys(), path
