"""Years of logs are folded in pieces: a start keeps no health check, lock or lease waiting.

given many logs
  they are folded in pieces that end with a block, with a turn of the loop between them
  a fold that was cut short begins anew, and counts none of them twice
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_chain import encoded

from corechain.deployment import DeployedContract
from corechain.protocol.events import DeviceRegistered
from corechain.service.rpc import Log
from corechain_relayer.metrics import Metrics
from corechain_relayer.rewards.kept import LogsFollower, LogsView
from corechain_relayer.turns import AT_ONCE, BYTES_OF_ONE, block_of, pieces_of

TOPICS, DATA = encoded(DeviceRegistered(bytes(20), bytes(20), 1, bytes(32), bytes(32)))


def logs_of(blocks: Sequence[int], data: bytes = DATA) -> list[Log]:
    return [
        Log(bytes(20), tuple(TOPICS), data, block, bytes(32), bytes(32), place)
        for place, block in enumerate(sorted(blocks))
    ]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 30)), st.integers(1, 9), st.booleans())
def test_pieces_end_with_a_block(blocks: list[int], at_once: int, large: bool) -> None:
    logs = logs_of(blocks, bytes(BYTES_OF_ONE) if large else b"")
    pieces = list(pieces_of(logs, at_once))
    assert [entry for piece in pieces for entry in piece] == logs
    spans = [set(map(block_of, piece)) for piece in pieces]
    assert sum(map(len, spans)) == len(set(blocks))
    for piece in pieces[:-1]:
        before = [entry for entry in piece if entry.block_number != piece[-1].block_number]
        assert len(before) * (1 + large) < at_once <= len(piece) * (1 + large)


def follower() -> LogsFollower:
    nothing: Any = None
    contract = DeployedContract("DeviceRegistry", bytes(20), 1)
    return LogsFollower(nothing, contract, LogsView, 1.0, 100, Metrics())


async def test_the_loop_turns_while_years_of_logs_are_folded() -> None:
    view, logs = follower(), logs_of(range(5 * AT_ONCE))
    folding = asyncio.create_task(view._forward(logs, final=True))
    turns = 0
    while not folding.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 5
    assert view._fold.newest.logs == logs


async def test_a_fold_that_was_cut_short_counts_nothing_twice() -> None:
    view, logs = follower(), logs_of(range(5 * AT_ONCE))
    folding = asyncio.create_task(view._forward(logs, final=True))
    while not view._fold.newest.logs:  # noqa: ASYNC110
        await asyncio.sleep(0)
    folding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await folding
    assert view._fold.newest.logs == []
