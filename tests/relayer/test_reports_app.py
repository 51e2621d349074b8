"""POST /v1/reports without a socket: whatever goes wrong on its way is an answer.

given an application with a gateway
  when reports come, the gateway has them, by the short way or by the routes
  when the client leaves, or we make a mistake, there is a problem and nothing else
  when another path or method is asked, the routes answer
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from corechain.protocol.errors import Overloaded
from corechain.service.direct import Answer
from corechain.service.health import Health
from corechain_relayer.gateway.app import Endpoints, build_app, report_routes
from corechain_relayer.gateway.body import BodyLimits
from corechain_relayer.gateway.service import Peer
from corechain_relayer.metrics import Metrics

Accept = Callable[[str, bytes, Peer], Awaitable[Answer]]


class Door:
    """A gateway of which only the door is there."""

    def __init__(self, accept: Accept, is_full: bool = False) -> None:
        self.accept, self.is_full = accept, is_full

    def require_room(self) -> None:
        if self.is_full:
            raise Overloaded("full", 7)


async def echo(media_type: str, body: bytes, peer: Peer) -> Answer:
    return Answer(202, (), media_type.encode() + b" " + body)


async def mistake(media_type: str, body: bytes, peer: Peer) -> Answer:
    raise KeyError("a secret")


def endpoints(accept: Accept = echo, is_full: bool = False) -> Endpoints:
    parts: Any = (Door(accept, is_full), None)
    return Endpoints(*parts, Health({}), Metrics(), Path(), BodyLimits(100, 1000, 30.0))


def client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


def both(served: Endpoints) -> list[ASGIApp]:
    return [build_app(served, [], True), Starlette(routes=report_routes(served))]


async def test_reports_reach_the_gateway_by_the_short_way_and_by_the_routes() -> None:
    served = endpoints()
    for app in both(served):
        async with client(app) as http:
            headers = {"Content-Type": "Application/JSON; charset=utf-8"}
            answer = await http.post("/v1/reports", content=b"[1]", headers=headers)
            assert (answer.status_code, answer.content) == (202, b"application/json [1]")
            assert (await http.post("/v1/reports", content=b"1" * 101)).status_code == 413
            assert (await http.get("/v1/reports")).status_code == 405
            assert (await http.get("/v1/elsewhere")).status_code == 404
    assert served.bodies.held == 0


async def test_a_mistake_of_ours_is_a_problem_without_its_cause() -> None:
    served = endpoints(mistake)
    async with client(build_app(served, [], True)) as http:
        answer = await http.post("/v1/reports", content=b"[1]")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert served.bodies.held == 0
    assert 'corechain_reports_rejected_total{reason="Internal"} 1.0' in (
        served.metrics.exposition().decode()
    )


async def test_a_full_bus_is_said_before_the_body_is_read() -> None:
    async def never() -> Any:
        raise AssertionError("nobody reads it")

    answer = await endpoints(is_full=True).reports({}, never)
    assert answer.status == 503
    assert 7 <= int(dict(answer.headers)[b"retry-after"]) <= 14


async def test_a_client_that_leaves_takes_its_part_of_the_body_along() -> None:
    messages = [
        {"type": "http.request", "body": b"123", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    served = endpoints()
    answer = await served.reports({"headers": [(b"content-length", b"10")]}, receive)
    assert (answer.status, served.bodies.held) == (400, 0)


@pytest.mark.parametrize("encoding", [b"gzip", b"\xff"])
async def test_an_encoded_body_is_refused_by_name(encoding: bytes) -> None:
    async def never() -> Any:
        raise AssertionError("nobody reads it")

    answer = await endpoints().reports({"headers": [(b"content-encoding", encoding)]}, never)
    assert answer.status == 415
