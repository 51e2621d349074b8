"""Windows of the size and age that the chain takes for good, where the settings say nothing.

given block time, challenge window, answer window, and how many commits may be in flight
  a lane never seals more batches than blocks take, nor than its ring takes in a challenge window
  a batch is never deeper than demands can follow in a challenge window
  the local deployment with blocks of 12 s carries 16,700 readings/s on one lane
  what the settings say counts, and then nobody is asked
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from corechain.protocol.batch import RING_SIZE
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Rpc
from corechain_relayer.aggregator.pace import (
    BLOCKS,
    MOST_AGE_S,
    ChainPace,
    Pace,
    chain_pace,
    pace_for,
    pace_of,
)
from corechain_relayer.settings import Settings
from relayer.lane import Lane

DAY_S = 86_400
CHAINS = st.builds(
    ChainPace, st.floats(0, 60), st.integers(1, 40 * DAY_S), st.integers(1, 40 * DAY_S)
)


@given(CHAINS, st.integers(1, 64))
def test_a_lane_never_seals_more_than_blocks_and_ring_take(
    chain: ChainPace, in_flight: int
) -> None:
    assume(chain.challenge_window_s / RING_SIZE < MOST_AGE_S / 2)
    age_s = pace_of(chain, in_flight).max_age_s
    assert chain.block_time_s / age_s <= in_flight
    assert chain.challenge_window_s / age_s < RING_SIZE


@given(CHAINS, st.integers(1, 64))
def test_a_batch_is_never_deeper_than_demands_can_follow(chain: ChainPace, in_flight: int) -> None:
    most = pace_of(chain, in_flight).max_readings
    demands = (most - 1).bit_length()
    assert demands == 0 or (demands + 1) * chain.answer_window_s <= chain.challenge_window_s


def test_blocks_of_12_s_carry_a_million_a_minute_on_one_lane() -> None:
    """With the windows of deployments/ethereum-local.yaml: a day, and an hour for each answer."""
    pace = pace_of(ChainPace(12.0, DAY_S, 3_600), in_flight=16)
    assert pace.max_readings / pace.max_age_s >= 16_700
    assert 12.0 / pace.max_age_s <= 16


@pytest.mark.parametrize("block_s", [0.0, 0.25, 12.0])
def test_a_fast_chain_with_a_short_window_does_not_pay_for_small_batches(block_s: float) -> None:
    assert pace_of(ChainPace(block_s, 3_600, 60), 16).max_age_s == 10.0


def settings(**fields: Any) -> Settings:
    where = {"rpc_url": "http://127.0.0.1:9", "bus_url": "redis://127.0.0.1:9"}
    where |= {"database_url": "postgresql://127.0.0.1:9/none"}
    return Settings(deployment=Path("none"), data_dir=Path("none"), **where, **fields)


async def test_the_chain_and_its_contracts_say_what_they_allow(lane: Lane) -> None:
    lane.chain.rpc("anvil_mine", hex(BLOCKS), hex(12))
    found = await chain_pace(lane.rpc, lane.chain.deployment)
    assert found.block_time_s == pytest.approx(12.0, abs=1.0)
    assert (found.challenge_window_s, found.answer_window_s) == (DAY_S, 3_600)


async def test_what_the_settings_say_counts_and_nobody_is_asked(lane: Lane) -> None:
    away, deployment = Rpc("http://127.0.0.1:9"), lane.chain.deployment
    said = settings(max_readings=7, max_age_s=0.5)
    assert await pace_for(said, away, deployment) == Pace(7, 0.5)
    with pytest.raises(NodeUnavailable):
        await pace_for(settings(max_readings=7), away, deployment)
    await away.close()


async def test_what_the_settings_do_not_say_the_chain_says(lane: Lane) -> None:
    half = await pace_for(settings(max_readings=7), lane.rpc, lane.chain.deployment)
    allowed = await pace_for(settings(), lane.rpc, lane.chain.deployment)
    assert half == Pace(7, allowed.max_age_s)
    assert allowed.max_age_s > DAY_S / RING_SIZE
