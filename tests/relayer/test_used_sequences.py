"""What is said of a sequence is known, or is not said.

given a report that a gateway has acknowledged
  when another gateway is asked
    it knows it, before and after it is in a batch
    the same report is delivered, another one is a conflict that its owner can see
  when journal or bus are away
    nobody guesses the next sequence
    what the gateway cannot judge is taken, and what the aggregator must refuse is a dead letter
"""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import ValkeyServer
from corechain.protocol.reading import SignedReport
from corechain_relayer.bus.frame import pack_frame, unpack_frame
from corechain_relayer.bus.keys import lane_keys
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess, Sensor, eventually
from relayer.test_crash import committed_reports, key_of
from relayer.test_outage import metric

CONFLICTS = "corechain_reports_conflicting_total"


def next_of(relayer: RelayerProcess, sensor: Sensor) -> httpx.Response:
    return relayer.get(f"/v1/devices/0x{sensor.key.identity.device.hex()}/sequence")


def another(sensor: Sensor, report: SignedReport) -> SignedReport:
    """A report that says something else under the same sequence."""
    return sensor.sign([sensor.observation(value=1234)], report.report.sequence)


def error_of(answer: httpx.Response) -> str:
    problem: dict[str, Any] = answer.json()
    return f"{answer.status_code} {str(problem.get('type')).rpartition(':')[2]}"


@pytest.fixture
async def letters(bus_url: str, stream: str) -> AsyncIterator[Any]:
    """Reads the dead letters: (reason, report)."""
    redis = Redis.from_url(bus_url, protocol=2)

    async def read() -> list[tuple[str, SignedReport]]:
        entries = await redis.xrange(lane_keys(stream, 0).dead)
        return [
            (fields[b"reason"].decode(), signed)
            for _, fields in entries
            for signed in unpack_frame(fields[b"f"]).reports
        ]

    yield read
    await redis.aclose()


async def test_a_gateway_knows_what_another_one_has_taken(
    start: Start, sensor: Sensor, letters: Any
) -> None:
    one, two = start("gateway"), start("gateway")
    assert next_of(two, sensor).json() == {"next": 0}
    report, later = sensor.report(), sensor.report()
    assert one.send(report).status_code == 202
    assert next_of(two, sensor).json() == {"next": 2}
    assert error_of(two.send(report)) == "409 ReplayedSequence"
    conflict = another(sensor, report)
    assert error_of(two.send(conflict)) == "409 ConflictingSequence"
    assert metric(two, CONFLICTS) == 1
    assert await letters() == [("ConflictingSequence", conflict)]
    # What comes out of order is new all the same.
    assert two.send(sensor.report(sequence=9)).status_code == 202
    assert one.send(later).status_code == 202
    assert error_of(two.send(later)) == "409 ReplayedSequence"
    assert next_of(one, sensor).json() == next_of(two, sensor).json() == {"next": 10}


async def test_what_is_in_a_batch_is_told_apart_after_a_restart(
    start: Start, sensor: Sensor, chain: Chain, letters: Any, tmp_path: Path
) -> None:
    relayer = start()
    reports = [sensor.report() for _ in range(40)]
    for report in reports:
        assert relayer.send(report).status_code == 202
    wanted = Counter(map(key_of, reports))
    eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)
    relayer.kill()
    again = start()
    assert next_of(again, sensor).json() == {"next": 41}
    oldest, newest = reports[0], reports[-1]
    assert error_of(again.send(oldest)) == "409 ReplayedSequence"
    assert error_of(again.send(newest)) == "409 ReplayedSequence"
    conflict = another(sensor, oldest)
    assert error_of(again.send(conflict)) == "409 ConflictingSequence"
    assert ("ConflictingSequence", conflict) in await letters()
    assert committed_reports(chain, tmp_path / "data") == wanted


def test_two_reports_under_one_sequence_in_one_request_are_a_conflict(
    relayer: RelayerProcess, sensor: Sensor
) -> None:
    report = sensor.report()
    results = relayer.send(report, another(sensor, report), report).json()["results"]
    assert [entry.get("error") for entry in results] == [
        None,
        "ConflictingSequence",
        "ReplayedSequence",
    ]


async def test_the_aggregator_drops_no_conflict_in_silence(
    start: Start, sensor: Sensor, chain: Chain, bus_url: str, stream: str, letters: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    """As gateways leave them that could not ask: in one window, and after the batch."""
    report = sensor.report()
    early, late = another(sensor, report), another(sensor, report)
    redis, lane = Redis.from_url(bus_url, protocol=2), lane_keys(stream, 0).stream
    await redis.xadd(lane, {"f": pack_frame(0, [report])})
    await redis.xadd(lane, {"f": pack_frame(0, [early, report])})
    relayer = start()
    eventually(chain.commitments)
    await redis.xadd(lane, {"f": pack_frame(0, [report, late])})
    eventually(lambda: metric(relayer, CONFLICTS) == 2)
    eventually(lambda: metric(relayer, "corechain_reports_duplicate_total") == 2)
    assert await letters() == [("ConflictingSequence", early), ("ConflictingSequence", late)]
    assert relayer.counter("corechain_dead_letters_total", "ConflictingSequence") == 2
    assert committed_reports(chain, tmp_path / "data") == Counter([key_of(report)])
    assert await redis.xlen(lane) == 0
    await redis.aclose()


async def test_without_the_journal_nobody_guesses_and_nothing_vanishes(
    start: Start, sensor: Sensor, chain: Chain, letters: Any, tmp_path: Path
) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        url = server.create_database("relayer")
        relayer = start(RELAYER_DATABASE_URL=url)
        report = sensor.report()
        assert relayer.send(report).status_code == 202
        eventually(chain.commitments)
        relayer.kill()
        server.kill()
        # It starts without the journal, and has nothing in memory.
        blind = start(ready=False, RELAYER_DATABASE_URL=url)
        answer = next_of(blind, sensor)
        assert error_of(answer) == "503 Unavailable"
        assert int(answer.headers["retry-after"]) > 0
        conflict = another(sensor, report)
        taken = blind.send(conflict)
        assert taken.status_code == 202 or error_of(taken) == "409 ConflictingSequence"
        server.start()
        eventually(lambda: next_of(blind, sensor).status_code == 200)
        assert next_of(blind, sensor).json() == {"next": 2}
        eventually(lambda: metric(blind, CONFLICTS) == 1)
        assert await letters() == [("ConflictingSequence", conflict)]
        assert committed_reports(chain, tmp_path / "data") == Counter([key_of(report)])


def test_without_the_bus_nothing_is_called_delivered(
    start: Start, sensor: Sensor, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        relayer = start("gateway", RELAYER_BUS_URL=server.url)
        report = sensor.report()
        assert relayer.send(report).status_code == 202
        server.kill()
        assert error_of(relayer.send(report)) == "503 Overloaded"
        assert error_of(next_of(relayer, sensor)) == "503 Unavailable"
        server.start()
        eventually(lambda: error_of(relayer.send(report)) == "409 ReplayedSequence")
        assert next_of(relayer, sensor).json() == {"next": 2}


def test_a_mistaken_jump_leaves_a_next_sequence(relayer: RelayerProcess, sensor: Sensor) -> None:
    assert relayer.send(sensor.report(sequence=2**62)).status_code == 202
    following = next_of(relayer, sensor).json()["next"]
    assert following == 2**62 + 1
    assert relayer.send(sensor.report(sequence=following)).status_code == 202
    assert relayer.send(sensor.report(sequence=2**64 - 1)).status_code == 422
    assert next_of(relayer, sensor).json() == {"next": 2**62 + 2}
