"""`POST /v1/reports` has two ways through the server, and nobody can tell which one was taken.

given one gateway behind two servers, with and without the direct path
  when the same bytes come, in whatever pieces, both write the same bytes
  when a client drips, leaves, pipelines or refuses to read, both keep their limits
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.processes import PATIENCE_S
from uvicorn.server import ServerState

from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import Overloaded
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.report_json import report_to_json
from corechain.service import http_protocol
from corechain.service.direct import Answer
from corechain.service.health import Health
from corechain.service.http_protocol import MAX_HEADER_FIELDS
from corechain.service.http_server import http_server
from corechain_relayer.gateway.app import Endpoints, build_app
from corechain_relayer.gateway.body import BodyLimits
from corechain_relayer.gateway.direct import DirectReports
from corechain_relayer.gateway.intake import intake_of
from corechain_relayer.gateway.problem import answer
from corechain_relayer.gateway.service import Done, Peer
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.wish import Entry, Wish
from relayer.test_bad_input import text
from relayer.test_bad_transport import (
    JSON,
    Case,
    chunked,
    chunks,
    heads,
    lengths,
    post,
    sized,
    verbs,
)

DOMAIN = Domain("CoreChain", "1", 1337, bytes(20))
PACKED = b"content-type: application/vnd.corechain.reports"
CELL = 0x872A1072BFFFFFF
MOST_BYTES, ALL_BYTES = 1_000, 2_000
QUIET_TURNS = 12
"""Of the event loop, without a byte: every step of a request here takes fewer."""
_DRAWN = re.compile(rb"(?i)(date|retry-after): [^\r]*\r\n")
"""What differs from answer to answer."""


def report(number: int, observations: int = 1) -> SignedReport:
    items = [Observation(1, CELL, 1_000 + n, n) for n in range(observations)]
    return SignedReport(Report.of(DeviceId(bytes([number]) * 20), number, items), bytes(64))


@dataclass
class Door:
    """A gateway that takes every report that can be read. `is_strange`: it has to ask for the
    device first."""

    is_full: bool = False
    is_strange: bool = False
    mistake: bool = False
    taken: list[bytes] = field(default_factory=list)
    wished: int = 0
    """Requests that asked for receipts."""

    def require_room(self) -> None:
        if self.is_full:
            raise Overloaded("full", 7)

    async def accept(
        self, media_type: str, body: bytes, peer: Peer, wish: Wish | None = None
    ) -> Answer:
        await asyncio.sleep(0)
        return self._answer(media_type, body, wish)

    def take_straight(
        self, media_type: str, body: bytes, peer: Peer, done: Done, wish: Wish | None = None
    ) -> bool:
        if self.is_strange:
            return False
        found = self._answer(media_type, body, wish)
        asyncio.get_running_loop().call_soon(done, found)
        return True

    def _answer(self, media_type: str, body: bytes, wish: Wish | None) -> Answer:
        self.wished += wish is not None
        if wish is not None:
            wish.entries.append(Entry(range(1), b"a receipt"))
        if self.mistake:
            raise KeyError("a secret")
        intake = intake_of(media_type, body, DOMAIN)
        self.taken.append(body)
        return answer(intake, [None] * len(intake.columns), wish)


class Wire(asyncio.Transport):
    """A client's end: what was written to it, and whether it was hung up on."""

    def __init__(self) -> None:
        super().__init__()
        self.received, self.closed, self.reads = bytearray(), False, True
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        if not self.closed:
            self.received += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


@dataclass
class Served:
    """A connection to a server of its own."""

    door: Door
    is_direct: bool
    wire: Wire = field(default_factory=Wire)
    body_timeout_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        bodies = BodyLimits(MOST_BYTES, ALL_BYTES, self.body_timeout_s)
        parts: Any = (self.door, None)
        self.endpoints = Endpoints(*parts, Health({}), Metrics(), Path(), bodies)
        app = build_app(self.endpoints, [], True)
        direct = DirectReports(self.endpoints) if self.is_direct else None
        config = http_server(app, 100, 75, direct, self.endpoints.count).config
        config.load()
        made: Any = config.http_protocol_class
        self.protocol = made(config=config, server_state=ServerState(), app_state={})
        self.wire.protocol = self.protocol
        self.protocol.connection_made(self.wire)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.wire.closed:
                self.protocol.data_received(piece)

    async def settle(self) -> None:
        quiet, written = 0, 0
        while quiet < QUIET_TURNS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self.wire.received) == written else 0
            written = len(self.wire.received)

    async def end(self) -> bytes:
        """What the client got when it has sent all and waits for the end."""
        await self.settle()
        if not self.wire.closed and not self.wire.protocol.eof_received():
            self.wire.close()
        await self.settle()
        self.protocol.connection_lost(None)
        await self.settle()
        assert self.endpoints.bodies.held == 0
        return _DRAWN.sub(b"", bytes(self.wire.received)).lower()


def sorted_fields(written: bytes) -> list[list[bytes]]:
    """The lines of what was written, answer for answer: the order of fields means nothing."""
    parts = written.split(b"http/1.")
    return [sorted(part.split(b"\r\n")) for part in parts]


def counted(served: Served) -> list[bytes]:
    lines = served.endpoints.metrics.exposition().splitlines()
    return [line for line in lines if b"_total" in line]


async def both(*pieces: bytes, **door: bool) -> tuple[Served, Served]:
    """The two ways, after the same bytes; what they wrote is the same."""
    direct, roundabout = (Served(Door(**door), is_direct) for is_direct in (True, False))
    written = []
    for served in (direct, roundabout):
        served.send(*pieces)
        written.append(await served.end())
    assert sorted_fields(written[0]) == sorted_fields(written[1])
    assert direct.door.taken == roundabout.door.taken
    return direct, roundabout


def reports() -> Iterator[Case]:
    one = report(1).pack()
    yield "a packed report", sized(one, PACKED), [202]
    yield "a packed list", sized(one + report(2, 3).pack(), PACKED), [202]
    yield "a JSON report", sized(text(report_to_json(report(1))), JSON), [202]
    yield "a report that ends too soon", sized(one[:-1], PACKED), [400]
    yield "a byte too many", sized(one + b"\0", PACKED), [400]
    yield "no media type", sized(one), [415]
    yield "gzip", sized(one, PACKED, b"content-encoding: gzip"), [415]
    codings = (b"content-encoding: gzip", b"content-encoding: identity")
    yield "gzip in one of two lines", sized(one, PACKED, *codings), [415]
    yield "a type twice", sized(one, JSON, PACKED), [415]
    gzipped = post(chunks(one, 10), PACKED, b"transfer-encoding: gzip, chunked")
    yield "gzip in chunks", gzipped, [415]
    yield "in chunks", post(chunks(one, 10), PACKED, b"transfer-encoding: chunked"), [202]
    yield "an expectation", sized(one, PACKED, b"expect: 100-continue"), [100, 202]
    yield "the last one", sized(one, PACKED, b"connection: close"), [202]
    yield "an old client", sized(one, PACKED).replace(b"HTTP/1.1", b"HTTP/1.0"), [202]
    yield "with the wish for receipts", sized(one, PACKED, b"prefer: a, Receipt"), [202]
    yield "with another wish", sized(one, PACKED, b"prefer: return=minimal"), [202]
    yield "with a query", sized(one, PACKED).replace(b"reports H", b"reports?a=b H"), [202]
    yield "nothing", sized(b"", PACKED), [400]
    yield "a body over the limit", sized(bytes(MOST_BYTES + 1), PACKED), [413]
    fields = [b"x-a: b"] * (MAX_HEADER_FIELDS - 3)
    yield "as many fields as allowed", sized(one, PACKED, *fields), [202]
    yield "one field more", sized(one, PACKED, *fields, b"x-a: b"), [431]
    yield "a field of 70 kB", sized(one, PACKED, b"x-a: " + b"b" * 70_000), [431]


CASES = {case: sent for case, sent, _ in [*reports(), *lengths(), *chunked(), *heads(), *verbs()]}
WEBSOCKET = CASES["an upgrade to a WebSocket"]
# Whether a WebSocket may take over depends on whether the request before is answered already.
SMALL = [sent for sent in CASES.values() if len(sent) < 1_000 and sent != WEBSOCKET]


@pytest.mark.parametrize("sent", CASES.values(), ids=CASES.keys())
async def test_the_same_bytes_have_the_same_answer_on_both_ways(sent: bytes) -> None:
    direct, roundabout = await both(sent)
    assert counted(direct) == counted(roundabout)


async def test_the_answers_are_those_that_they_should_be() -> None:
    for case, sent, expected in reports():
        direct, _ = await both(sent)
        written = direct.wire.received.replace(b"HTTP/1.0", b"HTTP/1.1").split(b"HTTP/1.1 ")[1:]
        assert [int(part[:3]) for part in written] == expected, case


@given(st.lists(st.sampled_from(SMALL), min_size=1, max_size=4), st.data())
async def test_pieces_and_pipelines_change_nothing(sent: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(sent)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    await both(*pieces)


async def test_a_websocket_takes_no_connection_from_a_request_under_way() -> None:
    direct, _ = await both(sized(report(1).pack(), PACKED) + WEBSOCKET)
    assert [part[:3] for part in direct.wire.received.split(b"HTTP/1.1 ")[1:]] == [b"202", b"405"]


@pytest.mark.parametrize("door", ["is_full", "is_strange", "mistake"])
async def test_what_the_gateway_says_is_said_on_both_ways(door: str) -> None:
    one = sized(report(1).pack(), PACKED)
    direct, _ = await both(one, one, **{door: True})
    assert b"secret" not in direct.wire.received


@pytest.mark.parametrize("door", [{}, {"is_strange": True}])
async def test_a_wish_for_receipts_comes_through_on_both_ways(door: dict[str, bool]) -> None:
    one = report(1).pack()
    sent = sized(one, PACKED, b"prefer: receipt") + sized(one, PACKED)
    for served in await both(sent, **door):
        assert served.door.wished == 1
        assert served.wire.received.count(b"preference-applied: receipt") == 1
        assert served.wire.received.count(b'"receipts":[') == 1


async def test_bodies_in_memory_are_counted_on_both_ways() -> None:
    for is_direct in (True, False):
        served = Served(Door(), is_direct)
        served.endpoints.bodies.take(ALL_BYTES - 100)
        served.send(sized(report(1).pack(), PACKED))
        await served.settle()
        assert served.wire.received.startswith(b"HTTP/1.1 503 ")
        assert served.endpoints.bodies.held == ALL_BYTES - 100


async def test_a_body_that_drips_has_its_time_and_no_more() -> None:
    for is_direct in (True, False):
        served = Served(Door(), is_direct, body_timeout_s=0.05)
        served.send(post(b"{", b"content-length: 9", JSON))
        while not served.wire.received:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert served.wire.received.startswith(b"HTTP/1.1 408 ")
        assert served.endpoints.bodies.held == 0


async def test_an_answer_after_the_client_has_left_is_dropped() -> None:
    for is_direct in (True, False):
        served = Served(Door(), is_direct)
        served.send(sized(report(1).pack(), PACKED))
        served.protocol.connection_lost(None)
        await served.settle()
        assert (served.wire.received, served.endpoints.bodies.held) == (b"", 0)


async def test_a_client_that_sends_no_more_still_gets_its_answer() -> None:
    for is_direct in (True, False):
        served = Served(Door(), is_direct)
        served.send(sized(report(1).pack(), PACKED))
        assert served.protocol.eof_received()  # before anybody had time to answer
        await served.settle()
        assert served.wire.received.startswith(b"HTTP/1.1 202 ")
        assert served.wire.closed


async def test_a_stop_lets_the_request_under_way_finish() -> None:
    for is_direct in (True, False):
        served = Served(Door(), is_direct)
        served.send(sized(report(1).pack(), PACKED))
        served.protocol.shutdown()
        await served.settle()
        assert served.wire.received.startswith(b"HTTP/1.1 202 ")
        assert b"connection: close" in served.wire.received
        assert served.wire.closed


async def test_who_reads_nothing_is_answered_no_further() -> None:
    """What a client does not read is written to it once; the next answers wait."""
    for is_direct in (True, False):
        served = Served(Door(), is_direct)
        served.protocol.pause_writing()  # its socket is full
        one = sized(report(1).pack(), PACKED)
        for _ in range(10):
            served.send(one)
            await served.settle()
        assert len(served.wire.received) < len(one)
        assert not served.wire.reads
        await served.end()


def peer_of(served: Served, client: str, *fields: tuple[bytes, bytes]) -> tuple[str, str]:
    served.protocol.client = (client, 1)
    peer, scheme = served.protocol.origin(fields)
    assert isinstance(peer, str)
    assert isinstance(scheme, str)
    return peer, scheme


async def test_a_peer_is_who_a_trusted_proxy_says_and_nobody_else() -> None:
    served = Served(Door(), True)
    forwarded = (b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")
    served.protocol.scheme = "http"
    assert peer_of(served, "198.51.100.1", *forwarded) == ("198.51.100.1", "http")
    assert peer_of(served, "127.0.0.1", *forwarded) == ("203.0.113.9", "https")
    assert peer_of(served, "127.0.0.1", forwarded[1]) == ("127.0.0.1", "https")
    assert peer_of(served, "127.0.0.1") == ("127.0.0.1", "http")


async def test_who_was_refused_at_once_keeps_his_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.02)
    for is_direct in (True, False):
        served = Served(Door(is_full=True), is_direct)
        served.send(sized(report(1).pack(), PACKED))
        await served.settle()
        assert served.wire.received.startswith(b"HTTP/1.1 503 ")
        await asyncio.sleep(0.1)
        assert not served.wire.closed
        served.send(b"\r\n")  # no request, and no way to keep a place
        while not served.wire.closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
