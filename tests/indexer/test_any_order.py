"""Whatever happens, and whenever one looks: two indexes of one chain are equal.

Blocks with events of every kind that is derived from, reorgs, nodes behind one address that lag or
still stand on an old branch, and looks at any time, in any order; at the end the index that saw it
all is compared with one that is built at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.fake_chain import FakeChain, fake_chain

from corechain.chain import Chain
from indexer.modelled import DEPLOYMENT, HAPPENS, KEYS, Model
from indexer.support import TABLES, Driven, World, driven, settings_of

CONFIRMATIONS = 8
ALL_TABLES = ", ".join((*TABLES, "batch_file", "block", "outbox", "stale_device"))


events = st.tuples(st.sampled_from(HAPPENS), st.integers(0, 15))
blocks = st.lists(events, max_size=4)
actions = st.one_of(
    st.tuples(st.just("block"), blocks),
    st.tuples(st.just("block"), blocks),
    st.tuples(st.just("reorg"), st.integers(0, 15)),
    st.tuples(st.just("catch_up"), st.integers(0, 2)),
    st.tuples(st.just("restore"), st.integers(0, 2)),
    st.tuples(st.just("mirror"), st.integers(1, 4)),
    st.tuples(st.just("judge"), st.just(0)),
)


async def act(model: Model, index: Driven, action: str, value: Any) -> None:
    if action == "block":
        for name, n in value:
            getattr(model, name)(n)
        model.mine()
    elif action == "reorg":
        model.reorg(value)
    elif action == "catch_up":
        model.chain.catch_up(value)
    elif action == "restore":
        model.chain.restore(value)
    elif action == "mirror":
        for _ in range(value):
            await index.mirror.step()
    else:
        await index.verifier.step()
        await index.exporter.step()


async def dump(index: Driven) -> dict[str, Any]:
    await index.settle()
    rows = await index.indexer.pool.fetch("select number, hash from block order by number")
    return await index.tables() | {"block": [tuple(row.values()) for row in rows]}


async def compared(
    chain: FakeChain, new: Callable[[], Any], world: World, script: Sequence[tuple[str, Any]]
) -> None:
    async with new() as index:
        await index.indexer.pool.execute(f"truncate {ALL_TABLES} cascade")
        model = Model(chain, world)
        for action, value in script:
            await act(model, index, action, value)
        model.outgrow()
        chain.catch_up()
        seen = await dump(index)
        if not any(action == "reorg" for action, _ in script):
            assert index.metric("corechain_reorgs_total") == 0
        await index.indexer.pool.execute(f"truncate {ALL_TABLES} cascade")
        index.restart_mirror()
        assert await dump(index) == seen
        assert seen["block"][-1] == (chain.blocks[-1].number, chain.blocks[-1].hash)


ALL = [("catch_up", node) for node in range(3)]
SEEN = [*ALL, ("mirror", 4), ("mirror", 4), ("judge", 0)]
EMPTY = ("block", [])
SCRIPTS = {
    "registered after the look": [("block", [("commit", 1)]), *SEEN, ("block", [("register", 0)])],
    "vetoed after the look": [EMPTY, ("block", [("propose", 4)]), *SEEN, ("block", [("veto", 0)])],
    "a root through what comes": [("block", [("propose", 3)]), *SEEN, ("block", [("commit", 1)])],
    "one node of three has the block": [
        *SEEN, ("block", [("register", 0)]), EMPTY, ("catch_up", 0), *[("mirror", 4)] * 5,
    ],
    "one node of three has the new branch, the others no block so high": [
        *[EMPTY] * 5, *SEEN, ("reorg", 3), *[EMPTY] * 6, ("catch_up", 0),
        *[("restore", 1), ("restore", 2)] * 2, *[("mirror", 4)] * 5,
    ],
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Chain("http://unused", DEPLOYMENT), tmp_path, keys=KEYS)


def run(
    world: World, database: str, bus_url: str, script: Sequence[tuple[str, Any]], **nodes: bool
) -> None:
    with fake_chain(3, **nodes) as chain:
        chosen = settings_of(
            world, database, bus_url, rpc_url=chain.url, confirmations=CONFIRMATIONS
        )
        asyncio.run(compared(chain, lambda: driven(chosen, world), world, script))


@pytest.mark.parametrize("name", SCRIPTS)
def test_two_indexes_are_equal_also_after(
    world: World, database: str, bus_url: str, name: str
) -> None:
    run(world, database, bus_url, SCRIPTS[name], splits=True, silent=True)


@settings(
    max_examples=15,
    deadline=None,
    # An example costs half a second: shrinking one would take longer than all others together.
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(actions, min_size=3, max_size=25), st.booleans(), st.booleans(), st.booleans())
def test_two_indexes_of_one_chain_are_equal(
    world: World,
    database: str,
    bus_url: str,
    script: list[tuple[str, Any]],
    splits: bool,
    silent: bool,
    blooms: bool,
) -> None:
    # Without filters nothing but its refusal tells of a node that does not know a block.
    nodes = {"splits": splits, "silent": silent and blooms, "blooms": blooms}
    run(world, database, bus_url, script, **nodes)
