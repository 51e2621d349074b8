"""The sender against gateways that answer anything: nothing is given up, and the log is true.

given a file of signed reports
  ├── the gateway accepts: all is logged, each report was sent once
  ├── it is busy, broken, slow or gone: the request is sent again until it is answered
  ├── it refuses some: those are logged with their reasons, the others as acknowledged
  ├── in order: no request is sent before those of its devices before it are answered
  └── the run is stopped: it ends at once, and the log says what has no answer
"""

import asyncio
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import COMMAND, environment
from support.processes import PATIENCE_S
from support.scripted import Script, ScriptedServer, answer, scripted

from corechain.devnet.fleet.acklog import Entry, Kind, LogReader
from corechain.devnet.fleet.errors import TooManyConnections
from corechain.devnet.fleet.http1 import Answer, AnswerReader, Target
from corechain.devnet.fleet.pace import Steady, Storm
from corechain.devnet.fleet.replay import Replay
from corechain.devnet.fleet.resuming import everything
from corechain.devnet.fleet.send_command import OTHER_FILES, require_open_files, targets_of
from corechain.devnet.fleet.sender import RETURN_S, Plan, Route, Sender, Tally
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.fleet.signed_file import SignedFile, open_signed
from corechain.devnet.fleet.signing import Order, sign_file

DEVICES, REPORTS, A_REQUEST = 6, 5, 4
TOTAL = DEVICES * REPORTS
LIMIT_S = PATIENCE_S


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> SignedFile:
    path = tmp_path_factory.mktemp("fleet") / "reports.ccfl"
    replay = Replay(Shape(DEVICES, REPORTS), 1_700_000_000)
    sign_file(Order("tests", 31337, bytes(20), replay), path, 1)
    return open_signed(path)


def accepted(file: SignedFile, body: bytes) -> bytes:
    count = len(body) // file.head.shape.record_bytes
    return answer(202, {"accepted": count, "results": []})


def problem(status: int, name: str, **headers: str) -> bytes:
    return answer(status, {"type": f"urn:corechain:{name}", "detail": "…"}, **headers)


async def send(
    file: SignedFile,
    script: Script,
    path: Path,
    *,
    during: Callable[[Sender], None] = lambda sender: None,
    timeout_s: float = LIMIT_S,
    connections: int = 3,
    in_order: bool = False,
) -> tuple[Tally, list[Entry], ScriptedServer]:
    async with asyncio.timeout(LIMIT_S), scripted(script) as server:
        targets = (Target.of(server.url),)
        plan = Plan(targets, A_REQUEST, connections, Storm(), timeout_s, 0.2, in_order)
        sender = Sender(file, plan, everything(path, file.head))
        during(sender)
        tally = await sender.run()
    reader = LogReader(path)
    entries = list(reader.entries())
    assert reader.whole
    return tally, entries, server


def numbers(entries: list[Entry], kind: Kind) -> list[int]:
    found = [n for e in entries if e.kind is kind for n in range(e.first, e.first + e.count)]
    return sorted(found)


async def test_everything_is_sent_once_in_lists_and_logged(
    file: SignedFile, tmp_path: Path
) -> None:
    tally, entries, server = await send(file, lambda n, body: accepted(file, body), tmp_path / "a")
    assert numbers(entries, Kind.ACKNOWLEDGED) == list(range(TOTAL))
    assert (tally.acknowledged, tally.unanswered, tally.refused.total()) == (TOTAL, 0, 0)
    assert sorted(server.bodies) == sorted(
        bytes(file.body(first, min(A_REQUEST, TOTAL - first)))
        for first in range(0, TOTAL, A_REQUEST)
    )
    assert server.connections <= 3, "connections are kept"
    assert tally.latencies.count == len(server.bodies)


async def test_in_order_a_device_waits_for_its_answer(file: SignedFile, tmp_path: Path) -> None:
    taken: list[bytes] = []

    def script(number: int, body: bytes) -> bytes | None:
        if number == 0:
            return None  # the others do not wait for it, unless they have to
        taken.append(body)
        return accepted(file, body)

    await send(file, script, tmp_path / "a", in_order=True)
    size = file.head.shape.record_bytes
    sent = {bytes(file.body(n, 1)): file.head.shape.place(n) for n in range(TOTAL)}
    places = [sent[body[at : at + size]] for body in taken for at in range(0, len(body), size)]
    for device in range(DEVICES):
        assert [turn for which, turn in places if which == device] == list(range(1, REPORTS + 1))


FAULTS: dict[str, bytes | None] = {
    "busy": problem(503, "Overloaded", retry_after="0"),
    "too many": problem(429, "TooMany", retry_after="0"),
    "broken": answer(500, {"title": "Internal error"}),
    "a proxy without a gateway": answer(502, "bad gateway"),
    "gone": None,
    "cut off": b"HTTP/1.1 202 Accepted\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{",
    "another protocol": b"220 ready\r\n\r\n",
    "no length": b"HTTP/1.1 202 Accepted\r\n\r\n{}",
    "accepted, and nothing said": answer(202, {"odd": True}),
    "one of the list": answer(
        202,
        {"accepted": 3, "results": [{"status": "accepted"}] * 3
         + [{"status": "rejected", "error": "Overloaded"}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_what_may_pass_is_sent_again_until_it_is_answered(
    file: SignedFile, tmp_path: Path, fault: bytes | None
) -> None:
    def script(number: int, body: bytes) -> bytes | None:
        return fault if number < 2 else accepted(file, body)

    tally, entries, _ = await send(file, script, tmp_path / "acks")
    assert numbers(entries, Kind.ACKNOWLEDGED) == list(range(TOTAL))
    assert tally.retries.total() == 2
    assert {entry.kind for entry in entries} == {Kind.ACKNOWLEDGED}


async def test_retry_after_is_obeyed(file: SignedFile, tmp_path: Path) -> None:
    asked: list[float] = []

    def script(number: int, body: bytes) -> bytes:
        asked.append(time.monotonic())
        busy = problem(503, "Overloaded", retry_after="1")
        return busy if number == 0 else accepted(file, body)

    tally, _, _ = await send(file, script, tmp_path / "acks", connections=1)
    assert asked[1] - asked[0] >= 1.0
    assert tally.retries == {"Overloaded": 1}
    assert tally.acknowledged == TOTAL


async def test_an_answer_that_never_comes_is_asked_for_again(
    file: SignedFile, tmp_path: Path
) -> None:
    def script(number: int, body: bytes) -> bytes:
        return b"" if number == 0 else accepted(file, body)

    tally, _, _ = await send(file, script, tmp_path / "acks", timeout_s=0.5, connections=1)
    assert tally.acknowledged == TOTAL
    assert set(tally.retries) == {"TimeoutError"}


def results(file: SignedFile, first: int, errors: dict[int, str], all_of_them: bool) -> bytes:
    """A gateway's answer for the request that begins with report `first`."""
    listed = []
    for number in range(first, first + A_REQUEST):
        device, sequence = file.head.shape.place(number)
        entry = {"device": "0x" + file.head.devices[device].hex(), "sequence": sequence}
        error = errors.get(number)
        if error or all_of_them:
            status = {"status": "rejected", "error": error} if error else {"status": "accepted"}
            listed.append({**entry, **status})
    return answer(202, {"accepted": A_REQUEST - len(errors), "results": listed})


@pytest.mark.parametrize("all_of_them", [True, False], ids=["all listed", "only the refused"])
async def test_what_is_refused_for_good_is_logged_with_its_reason(
    file: SignedFile, tmp_path: Path, all_of_them: bool
) -> None:
    errors = {5: "RevokedDevice", 6: "StaleSequence"}

    def script(number: int, body: bytes) -> bytes:
        second = body == bytes(file.body(A_REQUEST, A_REQUEST))
        return results(file, 4, errors, all_of_them) if second else accepted(file, body)

    tally, entries, _ = await send(file, script, tmp_path / "acks")
    refused = {e.first: e.reason for e in entries if e.kind is Kind.REFUSED}
    assert refused == errors
    assert tally.refused == {"RevokedDevice": 1, "StaleSequence": 1}
    others = [number for number in range(TOTAL) if number not in errors]
    assert numbers(entries, Kind.ACKNOWLEDGED) == others


async def test_a_request_that_is_refused_as_a_whole_is_logged_so(
    file: SignedFile, tmp_path: Path
) -> None:
    tally, entries, _ = await send(
        file, lambda n, body: problem(403, "InvalidSignature"), tmp_path / "acks"
    )
    assert numbers(entries, Kind.REFUSED) == list(range(TOTAL))
    assert tally.refused == {"InvalidSignature": TOTAL}
    assert tally.acknowledged == 0


async def test_what_was_seen_before_counts_as_delivered(file: SignedFile, tmp_path: Path) -> None:
    """The first answer was lost on its way: a repeated request is told so of every report."""
    tally, entries, _ = await send(
        file, lambda n, body: problem(409, "ReplayedSequence"), tmp_path / "acks"
    )
    assert numbers(entries, Kind.ACKNOWLEDGED) == list(range(TOTAL))
    assert tally.refused == {}


async def test_a_stopped_run_ends_at_once_with_a_whole_log(
    file: SignedFile, tmp_path: Path
) -> None:
    """What is in flight has no answer, and what was not sent is not in the log."""

    senders: list[Sender] = []

    def script(number: int, body: bytes) -> bytes:
        if number == 1:
            senders[0].stop()
        return b""

    tally, entries, _ = await send(
        file, script, tmp_path / "acks", during=senders.append, connections=2
    )
    assert numbers(entries, Kind.UNANSWERED) == list(range(2 * A_REQUEST))
    assert (tally.acknowledged, tally.unanswered) == (0, 2 * A_REQUEST)


async def test_a_gateway_that_is_not_there_is_waited_for_until_the_stop(
    file: SignedFile, tmp_path: Path
) -> None:
    async with scripted(lambda n, body: None) as server:
        url = server.url
    plan = Plan((Target.of(url),), A_REQUEST, 1, Steady(1000), drain_s=0.2)
    sender = Sender(file, plan, everything(tmp_path / "acks", file.head))
    sender.tick = lambda tally: sender.stop() if tally.retries.total() > 1 else None
    async with asyncio.timeout(LIMIT_S):
        tally = await sender.run()
    assert tally.unanswered == A_REQUEST
    assert set(tally.retries) == {"ConnectionRefusedError"}


async def test_connections_are_divided_among_gateways_and_leave_one_that_is_gone(
    file: SignedFile, tmp_path: Path
) -> None:
    async with scripted(lambda n, body: None) as server:
        gone = Target.of(server.url)

    def script(number: int, body: bytes) -> bytes:
        return accepted(file, body)

    async with asyncio.timeout(LIMIT_S), scripted(script) as one, scripted(script) as other:
        targets = Target.of(one.url), gone, Target.of(other.url)
        plan = Plan(targets, A_REQUEST, 3, Storm())  # each takes one before any has an answer
        tally = await Sender(file, plan, everything(tmp_path / "acks", file.head)).run()
    assert (tally.acknowledged, tally.unanswered) == (TOTAL, 0)
    assert set(tally.retries) == {"ConnectionRefusedError"}
    assert one.bodies
    assert other.bodies
    assert len(one.bodies) + len(other.bodies) == -(-TOTAL // A_REQUEST), "none was sent twice"


def test_a_route_returns_to_its_own_gateway_after_a_while() -> None:
    targets = [Target.of(f"http://gateway-{number}") for number in range(3)]
    route = Route.of(targets, 4)
    assert route.connection.target == targets[1]
    seen = []
    for now in (1.0, 2.0, 3.0, 4.0):
        route.turn_away(now)
        seen.append(route.connection.target)
    assert seen == [targets[2], targets[0], targets[1], targets[2]]
    route.turn_back(4.0 + RETURN_S / 2)
    assert route.connection.target == targets[2], "not yet"
    route.turn_back(4.0 + RETURN_S)
    assert route.connection.target == targets[1]


def test_gateways_are_named_several_times_or_are_the_network_s(tmp_path: Path) -> None:
    both = targets_of(tmp_path, ["http://a:1/", "http://b:2", "http://a:1"])
    assert [(one.host, one.port, one.path) for one in both] == [
        ("a", 1, "/v1/reports"),
        ("b", 2, "/v1/reports"),
    ]
    (usual,) = targets_of(tmp_path, [])
    assert usual.path == "/v1/reports"


async def test_sigterm_ends_the_command_in_order(file: SignedFile, tmp_path: Path) -> None:
    """Another process, as a user runs it: exit code 1, for there is no answer; the log is whole."""
    path, log = tmp_path / "reports.ccfl", tmp_path / "acks"
    replay = Replay(Shape(DEVICES, REPORTS), 1_700_000_000)
    sign_file(Order("tests", 31337, bytes(20), replay), path, 1)
    async with scripted(lambda n, body: b"") as server, asyncio.timeout(2 * LIMIT_S):
        words = ["fleet", "send", str(path), "--rate", "1000", "--list", "4", "--timeout", "1"]
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *words,
            "--log",
            str(log),
            "--gateway-url",
            server.url.removesuffix("/v1/reports"),
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
        )
        while not server.bodies:  # noqa: ASYNC110 - the server knows of no events
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert process.returncode == 1
    assert "unanswered" in output.decode()
    reader = LogReader(log)
    assert {entry.kind for entry in reader.entries()} == {Kind.UNANSWERED}
    assert reader.whole


BODY = b'{"accepted":1}'
CHUNKS = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKS + b"5;x=y\r\n%b\r\n9\r\n%b\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
        CHUNKED % (BODY[:5], BODY[5:]),
    ],
    ids=["length", "chunks"],
)
@given(cuts=st.lists(st.integers(0, 120), max_size=6))
def test_an_answer_is_the_same_however_it_arrives(raw: bytes, cuts: list[int]) -> None:
    reader = AnswerReader()
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    found = [reader.feed(raw[one:two]) for one, two in pairwise(edges)]
    assert found[:-1] == [None] * (len(found) - 1)
    assert isinstance(found[-1], Answer)
    assert (found[-1].status, found[-1].body) == (202, BODY)


@given(st.binary(max_size=300))
def test_what_is_no_answer_is_a_value_error_and_nothing_else(raw: bytes) -> None:
    for data in (
        raw,
        b"HTTP/1.1 200 OK\r\n" + raw,
        CHUNKS + raw,
    ):
        with suppress(ValueError):
            AnswerReader().feed(data)


@pytest.mark.parametrize("url", ["", "gateway", "ftp://gateway/x", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Target.of(url)


def test_open_files_are_allowed_as_far_as_the_system_lets_us() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = min(before[0], 512), before[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        require_open_files(soft)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft + OTHER_FILES, hard)
        if hard != resource.RLIM_INFINITY:
            with pytest.raises(TooManyConnections, match="ulimit"):
                require_open_files(hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
