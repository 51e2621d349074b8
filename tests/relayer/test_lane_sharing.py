"""Aggregators that share lanes: as many as an autoscaler likes, and each lane has exactly one.

given any number of lanes and of members
  their shares are all lanes, and differ by one at most
given lanes that are shared while devices send
  when members come, leave and are killed
    each lane is some member's again, and each report is in one batch, of its own lane
given a member that gave up a lane
  it shows nothing of it in its gauges
"""

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.processes import eventually, until

from corechain.protocol.reading import SignedReport
from corechain_relayer.aggregator.sharing import lane_gauges, share_of
from corechain_relayer.journal.claims import Standing, lane_claims
from corechain_relayer.metrics import Metrics
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess
from relayer.test_lanes import all_sealed, sensors_of

LANES = 3
SHARED = {"RELAYER_LANES": str(LANES), "RELAYER_SHARE_LANES": "true"}


@given(st.integers(1, 1024), st.integers(1, 200))
def test_shares_are_all_lanes_and_differ_by_one_at_most(lanes: int, members: int) -> None:
    shares = [share_of(lanes, Standing(rank, members)) for rank in range(members)]
    assert sum(shares) == lanes
    assert max(shares) - min(shares) <= 1


def running(process: RelayerProcess) -> set[str]:
    """The lanes that a member aggregates now."""
    loops = process.get("/ready").json()["loops"]
    return {
        name
        for name, state in loops.items()
        if name.startswith("aggregator ") and state == "running"
    }


def divided(*members: RelayerProcess) -> bool:
    """Whether each lane has one aggregator, and nobody has more than its share."""
    lanes = [running(member) for member in members]
    sizes = sorted(len(mine) for mine in lanes)
    return len(set().union(*lanes)) == sum(sizes) == LANES and sizes[-1] - sizes[0] <= 1


async def test_members_come_leave_and_die_and_each_report_is_counted_once(
    start: Start, chain: Chain, database: str, tmp_path: Path
) -> None:
    moments = random.Random(1)
    sensors = [sensor for lane in range(LANES) for sensor in sensors_of(chain, lane, LANES)]
    gateway = start("gateway", RELAYER_LANES=str(LANES))
    sent: list[SignedReport] = []

    def send() -> None:
        group = [sensor.report() for sensor in moments.choices(sensors, k=4)]
        assert gateway.send(*group).json()["accepted"] == len(group)
        sent.extend(group)

    send()
    first = start("aggregator", **SHARED)
    assert eventually(lambda: divided(first))
    send()
    second = start("aggregator", **SHARED)
    assert eventually(lambda: divided(first, second))
    send()
    first.kill()
    assert eventually(lambda: divided(second))
    send()
    await all_sealed(database, tmp_path / "data", sent, LANES)


async def test_members_that_lose_their_connection_are_members_no_more(database: str) -> None:
    async with lane_claims(database, 0) as first, lane_claims(database, 0) as second:
        assert sorted([(await first.standing()).rank, (await second.standing()).rank]) == [0, 1]
        assert await first.claim(2)
        assert not await second.claim(2)
        first.connection.terminate()

        async def is_alone() -> bool:
            return (await second.standing()).members == 1

        await until(is_alone)
        assert await second.claim(2)


async def test_relayers_of_other_lanes_in_one_database_do_not_count(database: str) -> None:
    async with lane_claims(database, 0) as ours, lane_claims(database, 8) as others:
        assert (await ours.standing()).members == (await others.standing()).members == 1


def test_a_lane_that_is_given_up_is_out_of_the_sums() -> None:
    metrics = Metrics()

    def shown() -> float:
        return float(metrics.window_reports._value.get())

    with lane_gauges(metrics, 0) as first:
        first.window_reports.set(5)
        with lane_gauges(metrics, 1) as second:
            second.window_reports.set(7)
            assert shown() == 12
        assert shown() == 5
    assert shown() == 0


def test_each_lane_shows_its_own_lag_while_it_is_held() -> None:
    metrics = Metrics()

    def lag(lane: str) -> float | None:
        return metrics.registry.get_sample_value("corechain_lane_frames", {"lane": lane})

    with lane_gauges(metrics, 0) as first, lane_gauges(metrics, 1) as second:
        first.bus_depth.set(5)
        second.bus_depth.set(7)
        assert (lag("0"), lag("1")) == (5, 7)
        assert metrics.registry.get_sample_value("corechain_bus_frames") == 12
    assert (lag("0"), lag("1")) == (None, None), "another pod has it now"
