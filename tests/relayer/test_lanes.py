"""A report is counted by its device's lane, once, however often lanes are killed or changed.

given two lanes on one bus
  when their aggregators are killed and taken over while devices send
    each report is in one batch, of its own lane
  when one lane is full
    the request says which reports were taken, and sending all of it again does no harm
given frames that were divided by another number of lanes, or not at all
  when aggregators start
    each report is brought to its lane, and counted once
  when one still divides by the old number
    the new ones wait until it is gone
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from support.processes import PATIENCE_S

from corechain.protocol.batch import lane_of, open_data_file
from corechain.protocol.lanes import lane_of_device
from corechain.protocol.reading import SignedReport
from corechain.service.database import connect
from corechain_relayer.bus.frame import pack_frame
from corechain_relayer.bus.keys import lane_keys
from corechain_relayer.errors import LanesInUse
from corechain_relayer.journal.lanes import hold_lanes
from corechain_relayer.journal.sql import query
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess, Sensor, eventually, secp
from relayer.test_crash import Key, key_of
from relayer.test_outage import metric

TWO = {"RELAYER_LANES": "2"}
ONE_OF_TWO = {"RELAYER_LANES": "2", "RELAYER_LANE": "1"}


def sensors_of(chain: Chain, lane: int, lanes: int = 2, count: int = 1) -> list[Sensor]:
    """Registered devices of one lane."""
    keys = (secp(number) for number in itertools.count(500))
    ours = (key for key in keys if lane_of_device(key.identity.device, lanes) == lane)
    sensors = [Sensor(key, chain.domain) for key in itertools.islice(ours, count)]
    for sensor in sensors:
        chain.register(sensor.key)
    return sensors


@pytest.fixture
def pair(chain: Chain) -> list[Sensor]:
    """A device of each of two lanes."""
    return [*sensors_of(chain, 0), *sensors_of(chain, 1)]


async def sealed(database: str, folder: Path) -> Counter[tuple[int, Key]]:
    """How often each report is in a sealed batch, and of which lane."""
    connection = await asyncpg.connect(database)
    rows = await connection.fetch("select batch_id, commitment from batch")
    await connection.close()
    found: Counter[tuple[int, Key]] = Counter()
    for row in rows:
        content = (folder / f"{row['commitment'].hex()}.ccdf").read_bytes()
        batch = open_data_file(content)[0]
        found.update((lane_of(row["batch_id"]), key_of(signed)) for signed in batch.reports)
    return found


def once_in_its_lane(reports: list[SignedReport], lanes: int = 2) -> Counter[tuple[int, Key]]:
    return Counter((lane_of_device(r.report.device, lanes), key_of(r)) for r in reports)


async def all_sealed(
    database: str, folder: Path, reports: list[SignedReport], lanes: int = 2
) -> None:
    """Waits until the reports are sealed, then a moment for one that is sealed twice."""
    wanted = once_in_its_lane(reports, lanes)
    deadline = time.monotonic() + PATIENCE_S
    while (await sealed(database, folder)).keys() != wanted.keys():
        assert time.monotonic() < deadline, f"{await sealed(database, folder)} is not {wanted}"
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    assert await sealed(database, folder) == wanted


@pytest.mark.parametrize("seed", [1])
async def test_two_lanes_count_each_report_once_through_kills_and_takeovers(
    start: Start, chain: Chain, database: str, tmp_path: Path, seed: int
) -> None:
    moments = random.Random(seed)
    sensors = [*sensors_of(chain, 0, count=2), *sensors_of(chain, 1, count=2)]
    gateway = start("gateway", **TWO)
    running: list[RelayerProcess] = [start("aggregator", **TWO), start("aggregator", **ONE_OF_TWO)]
    sent: list[SignedReport] = []
    for _ in range(4):
        for _ in range(moments.randint(2, 6)):
            group = [moments.choice(sensors).report() for _ in range(moments.randint(1, 4))]
            assert gateway.send(*group).json()["accepted"] == len(group)
            sent += group
        await asyncio.sleep(moments.uniform(0, 0.3))
        victim = moments.choice(running)
        victim.kill()
        victim.start()
    await all_sealed(database, tmp_path / "data", sent)
    for process in running:
        assert metric(process, "corechain_reports_forwarded_total") == 0
        assert metric(process, "corechain_dead_letters_total") == 0


async def test_a_full_lane_refuses_its_reports_and_no_others(
    start: Start, pair: list[Sensor], database: str, tmp_path: Path
) -> None:
    gateway = start("gateway", **TWO, RELAYER_BUS_MAX_FRAMES="1")
    first, second, third = pair[0].report(), pair[0].report(), pair[1].report()
    assert gateway.send(first).status_code == 202
    answer = gateway.send(second, third)
    assert answer.status_code == 202
    refused, taken = answer.json()["results"]
    assert (refused["status"], refused["error"]) == ("rejected", "Overloaded")
    assert taken["status"] == "accepted"
    assert gateway.send(second).json()["type"].endswith("Overloaded")
    start("aggregator", **TWO)
    start("aggregator", **ONE_OF_TWO)
    eventually(lambda: gateway.send(second).status_code in (202, 409))
    # Once there is room again: what was taken is told so.
    eventually(lambda: gateway.send(third).status_code == 409)
    await all_sealed(database, tmp_path / "data", [first, second, third])


async def test_a_relayers_lanes_need_not_be_the_first_ones_on_chain(
    start: Start, pair: list[Sensor], database: str, tmp_path: Path
) -> None:
    lanes = TWO | {"RELAYER_FIRST_LANE": "8"}
    relayer = start("gateway", "aggregator", **lanes, RELAYER_LANE="8")
    start("aggregator", **lanes, RELAYER_LANE="9")
    reports = [sensor.report() for sensor in pair]
    assert relayer.send(*reports).json()["accepted"] == 2
    wanted = Counter({(8, key_of(reports[0])): 1, (9, key_of(reports[1])): 1})
    deadline = time.monotonic() + PATIENCE_S
    while await sealed(database, tmp_path / "data") != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


# ------------------------------------------------------------------ changed lanes


@pytest.fixture
async def redis(bus_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(bus_url, protocol=2)
    yield client
    await client.aclose()


async def test_frames_of_a_version_without_lanes_are_divided(
    start: Start, pair: list[Sensor], redis: Redis, stream: str, database: str, tmp_path: Path
) -> None:
    reports = [sensor.report() for sensor in pair for _ in range(3)]
    await redis.xadd(stream, {"f": pack_frame(7, reports[:4])})
    await redis.xadd(stream, {"f": b"poison"})
    await redis.xadd(stream, {"f": pack_frame(7, reports[2:])})
    gateway = start("gateway", **TWO)
    device = pair[0].key.identity.device.hex()
    assert gateway.get(f"/v1/devices/0x{device}/sequence").status_code == 503
    first, _ = start("aggregator", **TWO), start("aggregator", **ONE_OF_TWO)
    await all_sealed(database, tmp_path / "data", reports)
    assert await redis.xlen(stream) == 0
    assert metric(first, "corechain_reports_forwarded_total") == 8
    assert first.counter("corechain_dead_letters_total", "MalformedFrame") == 1
    assert gateway.get(f"/v1/devices/0x{device}/sequence").json() == {"next": 4}
    # A gateway of the old version may still write there.
    late = pair[1].report()
    await redis.xadd(stream, {"f": pack_frame(7, [late])})
    await all_sealed(database, tmp_path / "data", [*reports, late])


async def test_with_more_lanes_each_report_goes_to_its_new_one(
    start: Start, pair: list[Sensor], database: str, tmp_path: Path
) -> None:
    old_gateway = start("gateway")
    old_aggregator = start("aggregator", RELAYER_MAX_AGE_S="3600")
    reports = [sensor.report() for sensor in pair for _ in range(2)]
    assert old_gateway.send(*reports).status_code == 202
    eventually(lambda: metric(old_aggregator, "corechain_window_reports") == 4)
    waiting = start("aggregator", ready=False, **ONE_OF_TWO)
    eventually(lambda: "do not divide by RELAYER_LANES=2" in waiting.get("/ready").text)
    old_aggregator.kill()
    first = start("aggregator", **TWO)
    late = pair[1].report()
    assert old_gateway.send(late).status_code == 202
    await all_sealed(database, tmp_path / "data", [*reports, late])
    assert metric(first, "corechain_reports_forwarded_total") >= 3
    # The new gateway knows what lies under the old number, and the old one what the new one took.
    new_gateway = start("gateway", **TWO)
    for gateway in (old_gateway, new_gateway):
        again = gateway.send(late)
        assert again.json()["type"] == "urn:corechain:error:ReplayedSequence"


async def test_with_fewer_lanes_those_that_are_no_more_are_emptied(
    start: Start, pair: list[Sensor], database: str, redis: Redis, stream: str, tmp_path: Path
) -> None:
    gateway = start("gateway", **TWO)
    two = start("aggregator", **ONE_OF_TWO, RELAYER_MAX_AGE_S="3600")
    reports = [sensor.report() for sensor in pair]
    assert gateway.send(*reports).status_code == 202
    eventually(lambda: metric(two, "corechain_window_reports") == 1)
    two.kill()
    start("aggregator")
    await all_sealed(database, tmp_path / "data", reports, lanes=1)
    assert await redis.xlen(lane_keys(stream, 1).stream) == 0
    device = pair[1].key.identity.device.hex()
    assert gateway.get(f"/v1/devices/0x{device}/sequence").json() == {"next": 2}


async def test_lanes_are_divided_by_one_number_at_a_time(start: Start, database: str) -> None:
    gateway = start("gateway")
    eventually(gateway.is_ready)
    one, other, third = [await connect(database) for _ in range(3)]
    try:
        assert await hold_lanes(one, 2) == 2
        assert await hold_lanes(other, 2) == 2
        with pytest.raises(LanesInUse):
            await hold_lanes(third, 3)
        await one.close()
        with pytest.raises(LanesInUse):
            await hold_lanes(third, 3)
        await other.close()
        assert await hold_lanes(third, 3) == 3
        one = await connect(database)
        with pytest.raises(LanesInUse):
            await hold_lanes(one, 2)
        await third.close()
        assert await hold_lanes(one, 2) == 3, "there were three once"
        row = await one.fetchrow(query("lane_count"))
        assert row is not None
        assert (row["lanes"], row["most"]) == (2, 3)
    finally:
        for connection in (one, other, third):
            await connection.close()
