"""A sender that was killed goes on where it was, and nothing that is final is sent again.

given a log that a kill has cut off
  ├── all that it does not call final is sent, in order, and the log is whole in the end
  ├── a new run does not overwrite it
  └── the log of other reports, or no log, is told apart
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import COMMAND, environment
from support.processes import PATIENCE_S
from support.scripted import Script, answer, scripted

from corechain.devnet.fleet.acklog import ENTRY_BYTES, AckLog, Kind, LogReader
from corechain.devnet.fleet.errors import MalformedFleetFile, UnfinishedLog
from corechain.devnet.fleet.head import Head
from corechain.devnet.fleet.replay import Replay
from corechain.devnet.fleet.resuming import everything, requests, rest
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.fleet.signed_file import SignedFile, open_signed
from corechain.devnet.fleet.signing import Order, sign_file
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId

DEVICES, REPORTS, A_REQUEST = 6, 5, 4
TOTAL = DEVICES * REPORTS
FINAL = (Kind.ACKNOWLEDGED, Kind.REFUSED)
HEAD = Head(
    31337,
    bytes(20),
    KeyType.SECP256K1,
    Shape(DEVICES, REPORTS),
    [DeviceId(bytes([n]) * 20) for n in range(DEVICES)],
)
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([*FINAL, Kind.UNANSWERED]),
        st.integers(0, TOTAL - 1),
        st.integers(1, A_REQUEST),
    ),
    max_size=12,
)


def write(path: Path, entries: Sequence[tuple[Kind, int, int]], ends: bool) -> None:
    log = AckLog.begin(path, HEAD)
    for kind, first, count in entries:
        reason = f"Reason{first % 3}" if kind is Kind.REFUSED else ""
        log.add(kind, first, min(count, TOTAL - first), 0.1, reason)
    if ends:
        log.end()
    else:
        log.file.close()


def fates(path: Path) -> dict[int, Kind]:
    reader = LogReader(path)
    return {n: e.kind for e in reader.entries() for n in range(e.first, e.first + e.count)}


@given(entries=ENTRIES, ends=st.booleans(), cut=st.integers(0, 5 * ENTRY_BYTES))
def test_what_is_not_final_is_sent_and_the_log_is_whole_in_the_end(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[tuple[Kind, int, int]],
    ends: bool,
    cut: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.acks"
    write(path, entries, ends)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(len(HEAD.pack(b"CCAK")), len(whole) - cut)])
    before = fates(path)
    left = rest(path, HEAD)
    sent = [
        n for first, count in requests(left.runs, A_REQUEST) for n in range(first, first + count)
    ]
    assert sent == [n for n in range(TOTAL) if before.get(n) not in FINAL]
    assert left.count == len(sent)
    for first, count in requests(left.runs, A_REQUEST):
        left.log.add(Kind.ACKNOWLEDGED, first, count)
    left.log.add(Kind.REFUSED, 0, 1, 0.1, "Reason1")
    left.log.end()
    reader = LogReader(path)
    last = list(reader.entries())[-1]
    assert (reader.whole, reader.fault, last.reason) == (True, "", "Reason1")
    found = fates(path)
    assert all(found[n] in FINAL for n in range(TOTAL))
    assert all(found[n] is before[n] for n in range(1, TOTAL) if before.get(n) in FINAL)


def test_the_log_of_a_sender_that_was_killed_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "acks"
    write(path, [(Kind.ACKNOWLEDGED, 0, 4)], ends=False)
    content = path.read_bytes()
    with pytest.raises(UnfinishedLog, match="--resume"):
        everything(path, HEAD)
    assert path.read_bytes() == content
    write(path, [(Kind.ACKNOWLEDGED, 0, 4)], ends=True)
    left = everything(path, HEAD)
    left.log.end()
    assert left.count == TOTAL


def test_the_log_of_other_reports_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "acks"
    write(path, [], ends=False)
    with pytest.raises(MalformedFleetFile, match="other reports"):
        rest(path, replace(HEAD, registry=b"\1" * 20))


@pytest.mark.parametrize("size", [None, 0, 9])
def test_a_log_that_was_never_begun_is_begun(tmp_path: Path, size: int | None) -> None:
    path = tmp_path / "acks"
    if size is not None:
        path.write_bytes(HEAD.pack(b"CCAK")[:size])
    left = rest(path, HEAD)
    left.log.end()
    assert left.count == TOTAL
    assert list(LogReader(path).entries()) == []


@pytest.fixture
def file(tmp_path: Path) -> SignedFile:
    path = tmp_path / "reports.ccfl"
    replay = Replay(Shape(DEVICES, REPORTS), 1_700_000_000)
    sign_file(Order("tests", 31337, bytes(20), replay), path, 1)
    return open_signed(path)


async def test_a_sender_that_was_killed_goes_on(file: SignedFile, tmp_path: Path) -> None:
    """kill -9 with three requests acknowledged, and others taken whose answers never came"""
    log, answered = tmp_path / "acks", 3

    def accepted(number: int, body: bytes) -> bytes:
        return answer(202, {"accepted": len(body) // file.head.shape.record_bytes, "results": []})

    def silent_later(number: int, body: bytes) -> bytes:
        return accepted(number, body) if number < answered else b""

    async def run(script: Script, *more: str) -> tuple[list[bytes], int | None]:
        words = ["fleet", "send", str(tmp_path / "reports.ccfl"), "--storm", "--list", "4", *more]
        async with scripted(script) as server, asyncio.timeout(PATIENCE_S):
            url = server.url.removesuffix("/v1/reports")
            places = ["--log", str(log), "--gateway-url", url, "--connections", "2"]
            process = await asyncio.create_subprocess_exec(
                *COMMAND, *words, *places, stdout=asyncio.subprocess.DEVNULL, env=environment()
            )
            if script is silent_later:
                written = len(file.head.pack(b"CCAK")) + answered * ENTRY_BYTES
                while not log.exists() or log.stat().st_size < written:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                process.kill()
            await process.wait()
        return server.bodies, process.returncode

    await run(silent_later)
    final = {number for number, kind in fates(log).items() if kind is Kind.ACKNOWLEDGED}
    assert len(final) == answered * A_REQUEST
    again, code = await run(accepted, "--resume")
    assert code == 0
    size = file.head.shape.record_bytes
    sent = [body[at : at + size] for body in again for at in range(0, len(body), size)]
    wanted = [bytes(file.body(number, 1)) for number in range(TOTAL) if number not in final]
    assert sorted(sent) == sorted(wanted)
    reader = LogReader(log)
    assert {n for e in reader.entries() for n in range(e.first, e.first + e.count)} == set(
        range(TOTAL)
    )
    assert reader.whole
