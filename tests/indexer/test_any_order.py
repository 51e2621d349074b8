"""Whatever happens, and whenever one looks: two indexes of one chain are equal.

Blocks with events of every kind that is derived from, reorgs, nodes behind one address that lag or
still stand on an old branch, and looks at any time, in any order; at the end the index that saw it
all is compared with one that is built at once.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.fake_chain import FakeChain, fake_chain

from corechain.chain import Chain
from corechain.deployment import REQUIRED, DeployedContract, Deployment
from corechain.protocol import events as e
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.events import Event
from corechain.protocol.hashing import ZERO26
from indexer.support import TABLES, Driven, World, device_keys, driven, settings_of

CONFIRMATIONS = 8
DEVICES = 4
KEYS = device_keys(DEVICES)
OWNERS = [bytes([n]) * 20 for n in (1, 2, 3)]
CONTRACTS = {
    name: DeployedContract(name, bytes([0xC0 + place]) * 20, 1)
    for place, name in enumerate(REQUIRED)
}
DEPLOYMENT = Deployment(31337, CONTRACTS)
ALL_TABLES = ", ".join((*TABLES, "batch_file", "block", "outbox", "stale_device"))


@dataclass
class Model:
    """What a relayer and the owners do, as events of the next block."""

    chain: FakeChain
    world: World
    block: list[tuple[bytes, Event]] = field(default_factory=list)

    def happened(self) -> Iterator[Event]:
        yield from self.chain.events()
        yield from (event for _, event in self.block)

    def emit(self, contract: str, event: Event) -> None:
        self.block.append((CONTRACTS[contract].address, event))

    def mine(self) -> None:
        self.chain.mine(self.block)
        self.block = []

    def slots(self) -> set[bytes]:
        kinds = (e.DeviceRegistered, e.DeviceMaterialised)
        return {event.device for event in self.happened() if isinstance(event, kinds)}

    def register(self, n: int) -> None:
        identity = KEYS[n % DEVICES].identity
        if identity.device not in self.slots():  # a device has one slot in its life
            public = identity.public_key or bytes(64)
            event = e.DeviceRegistered(
                identity.device, OWNERS[n % 3], identity.key_type, public[:32], public[32:]
            )
            self.emit("DeviceRegistry", event)

    def enrol(self, n: int) -> None:
        """One key type a fleet: of some device it is the wrong one."""
        listed = sorted(key.identity.device for i, key in enumerate(KEYS) if n >> i & 1)
        ids = b"".join(listed)
        event = e.FleetEnrolled(bytes([n]) * 26, OWNERS[n % 3], 1 + n % 2, ids)
        if listed:
            self.emit("DeviceRegistry", event)

    def transfer(self, n: int) -> None:
        device = KEYS[n % DEVICES].identity.device
        if device in self.slots():
            self.emit("DeviceRegistry", e.DeviceTransferred(device, OWNERS[0], OWNERS[n % 3]))

    def commit(self, n: int) -> None:
        """A batch of some devices, registered or not."""
        commits = [event for event in self.happened() if isinstance(event, e.BatchCommitted)]
        world = self.world
        world.number, world.states = len(commits), {}
        world.previous = commits[-1].commitment if commits else ZERO26
        keys = [key for i, key in enumerate(KEYS) if n >> i & 1]
        if keys:
            batch = world.sealed(hours=1, keys=keys)
            world.publish(batch)
            self.emit("DataBatches", e.BatchCommitted(world.number + 1, batch.commitment))

    def propose(self, n: int) -> None:
        """A root that is wrong, through a block that may be in the future."""
        through = max(0, self.chain.blocks[-1].number + n % 4 - 1)
        epoch = 1 + n // 8
        self.emit("CoreToken", e.RootProposed(n << 48 | epoch, through, 1000))

    def veto(self, n: int) -> None:
        self.emit("CoreToken", e.RootVetoed(1 + n % 2))

    def channel(self, n: int) -> None:
        """Opens one of two channels, or redeems from it: the log has only a part of its id."""
        name = bytes([n % 2 + 1]) * 32
        opened = [x for x in self.happened() if isinstance(x, e.Deposited) and x.channel_id == name]
        if not opened:
            config = ChannelConfig(*(OWNERS[0],) * 5, 900, bytes(32))
            self.emit("PaymentChannels", e.PaymentChannelCreated(name, config))
        self.emit("PaymentChannels", e.Deposited(name, OWNERS[0], 10, 10))
        total = sum(1 for _ in self.happened())
        row = name[:20] + total.to_bytes(12, "big")
        self.emit("PaymentChannels", e.RedeemedMany((row,)))

    def reorg(self, n: int) -> None:
        """Down to the newest block that was final for whoever saw the longest chain."""
        deepest = max(0, self.chain.highest - CONFIRMATIONS)
        self.chain.cut(max(deepest, self.chain.blocks[-1].number - n % CONFIRMATIONS - 1))


HAPPENS = ("register", "enrol", "transfer", "commit", "propose", "veto", "channel")
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
        # Every reorg ends with a block on the new branch that is higher than what was seen.
        for _ in range(chain.highest + 1 - chain.blocks[-1].number):
            model.mine()
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
