"""A lane that seals more batches than its ring takes says so before the ring is full.

given the pace of its newest 1,024 batches, and the challenge window of the contract
  too fast, and `/ready` warns with what to do
  slow enough, too few batches, or rebuilt ones: no warning
"""

import pytest

from corechain_relayer.journal.batches import lane_queue
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.ring import PACED_BATCHES, RingWatch
from relayer.lane import Lane

TAKES_S = 86_400 / 8_192
"""Of deployments/ethereum-local.yaml: a challenge window of a day."""


async def sealed_every(lane: Lane, pace_s: float, batches: int, adopted: bool = False) -> None:
    await lane.journal.connection.execute(
        """insert into batch (batch_id, commitment, reading_count, report_count, failed_count,
                              window_start, window_end, adopted, sealed_at)
           select n, substring(sha256(n::text::bytea) from 1 for 26), 1, 1, 0, 0, 1, $3,
                  now() - make_interval(secs => ($2::int - n) * $1::double precision)
           from generate_series(1, $2::int) n""",
        pace_s,
        batches,
        adopted,
    )


async def warning(lane: Lane) -> str | None:
    watch = RingWatch(lane.pool, lane.rpc, lane.chain.deployment, 0, Metrics())
    await watch.look()
    return watch.warning


async def test_a_lane_that_seals_too_fast_says_so_and_what_to_do(lane: Lane) -> None:
    await sealed_every(lane, 10.0, PACED_BATCHES + 1)
    said = await warning(lane)
    assert said is not None
    assert "every 10.0 s" in said
    assert f"every {TAKES_S:.1f} s" in said
    assert "RELAYER_MAX_AGE_S" in said


async def test_batches_that_were_sealed_in_no_time_are_too_fast(lane: Lane) -> None:
    await sealed_every(lane, 0.0, PACED_BATCHES + 1)
    assert await warning(lane) is not None


@pytest.mark.parametrize(
    ("pace_s", "batches", "adopted"),
    [(11.0, PACED_BATCHES + 1, False), (1.0, PACED_BATCHES, False), (0.0, 2 * PACED_BATCHES, True)],
    ids=["slow enough", "too few", "rebuilt"],
)
async def test_a_lane_whose_ring_lasts_has_nothing_to_say(
    lane: Lane, pace_s: float, batches: int, adopted: bool
) -> None:
    await sealed_every(lane, pace_s, batches, adopted)
    assert await warning(lane) is None


async def test_the_warning_ends_with_its_cause(lane: Lane) -> None:
    watch = RingWatch(lane.pool, lane.rpc, lane.chain.deployment, 0, Metrics())
    await sealed_every(lane, 10.0, PACED_BATCHES + 1)
    await watch.look()
    assert watch.warning is not None
    await lane.journal.connection.execute("delete from batch")
    await sealed_every(lane, 30.0, PACED_BATCHES + 1)
    await watch.look()
    assert watch.warning is None


async def test_the_load_ends_when_nothing_is_known_of_the_pace(lane: Lane) -> None:
    metrics, queue = Metrics(), {"queue": lane_queue(0)}
    watch = RingWatch(lane.pool, lane.rpc, lane.chain.deployment, 0, metrics)
    await sealed_every(lane, 5.0, PACED_BATCHES + 1)
    await watch.look()
    assert (metrics.registry.get_sample_value("corechain_ring_load", queue) or 0.0) > 1.0
    await lane.journal.connection.execute("delete from batch")
    await watch.look()
    assert metrics.registry.get_sample_value("corechain_ring_load", queue) == 0.0
