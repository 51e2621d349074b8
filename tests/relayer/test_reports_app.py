"""POST /v1/reports without a socket: whatever goes wrong on its way is an answer.

given an application with a gateway
  when reports come, the gateway has them, by the short way or by the routes
  when the client leaves, or we make a mistake, there is a problem and nothing else
  when another path or method is asked, the routes answer
given a folder of data files
  any part is sent, what is no part is ignored; a folder that cannot be read is an outage
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


def endpoints(accept: Accept = echo, is_full: bool = False, folder: Path = Path()) -> Endpoints:
    parts: Any = (Door(accept, is_full), None)
    return Endpoints(*parts, Health({}), Metrics(), folder, BodyLimits(100, 1000, 30.0))


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


PARTS = {
    "bytes=2-4": (206, b"cde"),
    "bytes=-3": (206, b"hij"),
    "BYTES=8-99": (206, b"ij"),
    **dict.fromkeys(("bytes=10-", "bytes=-0", "bytes=99-100"), (416, b"")),
    # What is none, or of another unit, is as if it were not said (RFC 9110, section 14.2).
    **dict.fromkeys(("bytes=4-2", "bytes=-", "bytes=x-y", "rows=0-1", "bytes", ""), (200, None)),
    **dict.fromkeys(("bytes=0-0,2-3", "bytes=0-" + "9" * 5_000), (200, None)),
}


async def test_any_part_of_a_data_file_is_sent_or_the_whole(tmp_path: Path) -> None:
    name, content = "ab" * 26, b"abcdefghij"
    (tmp_path / f"{name}.ccdf").write_bytes(content)
    async with client(build_app(endpoints(folder=tmp_path), [], True)) as http:
        for asked, (status, part) in PARTS.items():
            answer = await http.get(f"/v1/data/{name}", headers={"range": asked})
            assert answer.status_code == status, asked
            if status == 416:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["content-range"] == "bytes */10"
            else:
                assert answer.content == (content if part is None else part), asked
        changed = {"range": "bytes=2-4", "if-range": '"of before"'}
        assert (await http.get(f"/v1/data/{name}", headers=changed)).content == content


async def test_a_folder_that_cannot_be_read_is_an_outage(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.symlink_to(away)  # every look into it fails, as with a mount that is gone
    async with client(build_app(endpoints(folder=away), [], True)) as http:
        answer = await http.get("/v1/data/" + "ab" * 26)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert str(tmp_path) not in answer.text
