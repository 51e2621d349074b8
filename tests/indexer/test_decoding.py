"""Events that a new version decodes: rows of their past logs, without mirroring anything anew.

given an index by a version that made no rows of some kinds of events
  ├── by a version that does it becomes what a fresh one is, verdicts and roots too
  ├── also when the process ends after any step of it, and what is done is not done again
  ├── also when the chain forks while it is done, and what is mirrored meanwhile is decoded
  ├── the node is asked for nothing that is there
  └── also after an older version has run in between
given a version that makes other rows of a kind than an older one: those rows are made anew
given the code: a change of what is made of a log has a revision of its own
"""

import hashlib
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.fake_chain import FakeChain, encoded, fake_chain

from corechain.chain import Chain
from corechain.protocol import events as e
from corechain.protocol.channel import ChannelConfig
from corechain.service.words import Log
from corechain_indexer import decoding, projections
from corechain_indexer.kinds import KINDS, decoders
from corechain_indexer.projections import COLUMNS, Projected
from corechain_indexer.settings import Settings
from indexer.modelled import DEPLOYMENT, KEYS, OWNERS, Model
from indexer.support import Driven, World, driven, settings_of
from indexer.test_any_order import ALL_TABLES, CONFIRMATIONS

Kinds = Collection[type[e.Event]]
DEVICES = (e.DeviceRegistered, e.DeviceMaterialised, e.FleetEnrolled)
NAME, CONFIG = b"\1" * 32, ChannelConfig(*(OWNERS[0],) * 5, 900, bytes(32))


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LOGS_AT_ONCE", 4)


@pytest.fixture
def chain() -> Iterator[FakeChain]:
    with fake_chain(1, blooms=True) as running:
        yield running


@pytest.fixture
def model(chain: FakeChain, tmp_path: Path) -> Model:
    world = World(Chain("http://unused", DEPLOYMENT), tmp_path, keys=KEYS)
    return Model(chain, world, CONFIRMATIONS)


@pytest.fixture
def settings(model: Model, tables: str, bus_url: str) -> Settings:
    nodes = {"rpc_url": model.chain.url, "confirmations": CONFIRMATIONS, "log_range_blocks": 50}
    return settings_of(model.world, tables, bus_url, **nodes)


def happen(model: Model, first: int, blocks: int) -> None:
    """Blocks with something of every kind that the model knows."""
    for n in range(first, first + blocks):
        for act in (model.register, model.transfer, model.commit, model.channel):
            act(n + 1)
        if n % 3 == 0:
            model.enrol(3 + n)
            model.propose(n)
            model.veto(n)
        model.mine()
    model.chain.catch_up()


@contextmanager
def older(*kinds: type[e.Event]) -> Iterator[None]:
    """A version that makes nothing of the logs of some kinds."""
    with pytest.MonkeyPatch.context() as patch:
        rest = {t: d for t, d in decoders().items() if d.name not in {k.__name__ for k in kinds}}
        patch.setattr(projections, "PROJECTED", projections.PROJECTED - set(kinds))
        for kind in kinds:
            patch.delitem(projections._PROJECTORS, kind, raising=False)
            patch.delitem(projections._MANY, kind, raising=False)
        patch.setattr(decoding, "decoders", lambda: rest)
        yield


async def fresh(index: Driven) -> dict[str, list[tuple[Any, ...]]]:
    """The tables of an index that this version builds at once, in the same database."""
    await index.indexer.pool.execute(f"truncate {ALL_TABLES} cascade")
    index.restart_mirror()
    await index.settle()
    return await index.tables()


def tidy(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    assert all(found[table] for table in ("device_event", "batch", "payment_event", "root_event"))
    return found


async def open_kinds(index: Driven) -> dict[str, int]:
    query = "select name, through from decoded where through is not null"
    return {row["name"]: row["through"] for row in await index.indexer.pool.fetch(query)}


@pytest_asyncio.fixture
async def begun(model: Model, settings: Settings) -> AsyncIterator[Model]:
    happen(model, 0, 6)
    yield model


@pytest.mark.parametrize(
    "kinds",
    [(e.RootProposed,), DEVICES, (e.BatchCommitted,), (e.PaymentChannelCreated,), tuple(KINDS)],
    ids=lambda kinds: kinds[0].__name__ if len(kinds) < 9 else "all of them",
)
async def test_what_an_older_version_did_not_decode_comes_by_itself(
    begun: Model, settings: Settings, kinds: Kinds
) -> None:
    with older(*kinds):
        async with driven(settings, begun.world) as index:
            await index.settle()
            before = await index.tables()
    begun.chain.calls.clear()
    async with driven(settings, begun.world) as index:
        await index.settle()
        found = tidy(await index.tables())
        assert not [call for call in begun.chain.calls if call["method"] == "eth_getLogs"]
        assert found != before
        assert found["event"] == before["event"]
        assert found == await fresh(index)


async def test_a_process_that_ends_after_any_step_goes_on_with_it(
    begun: Model, settings: Settings
) -> None:
    with older(*KINDS):
        async with driven(settings, begun.world) as index:
            await index.settle()
    reached = [-1]
    while reached[-1] is not None:
        async with driven(settings, begun.world) as index:
            await index.mirror.step()
            places = await open_kinds(index)
            assert len(set(places.values())) < 2
            reached.append(next(iter(places.values()), None))  # type: ignore[arg-type]
    *places, _ = reached
    assert places == sorted(set(places))
    assert len(places) > 4
    async with driven(settings, begun.world) as index:
        await index.settle()
        assert tidy(await index.tables()) == await fresh(index)


@pytest.mark.parametrize("steps", [1, 3, 6])
async def test_a_fork_meanwhile_is_followed(begun: Model, settings: Settings, steps: int) -> None:
    with older(*DEVICES, e.PaymentChannelCreated, e.Deposited):
        async with driven(settings, begun.world) as index:
            await index.settle()
    async with driven(settings, begun.world) as index:
        for _ in range(steps):
            await index.mirror.step()
        begun.chain.cut(begun.chain.blocks[-1].number - 4)
        happen(begun, 20, 6)
        await index.settle()
        assert not await open_kinds(index)
        assert tidy(await index.tables()) == await fresh(index)


async def test_after_an_older_version_ran_in_between_all_of_it_is_made(
    begun: Model, settings: Settings
) -> None:
    """What the older one mirrored is without those rows, wherever the newer one had been."""
    async with driven(settings, begun.world) as index:
        await index.settle()
    happen(begun, 10, 3)
    with older(e.DeviceTransferred):
        async with driven(settings, begun.world) as index:
            await index.settle()
    async with driven(settings, begun.world) as index:
        await index.settle()
        assert tidy(await index.tables()) == await fresh(index)


async def test_rows_of_another_revision_are_made_anew(begun: Model, settings: Settings) -> None:
    """As of a version that left a field out, and one that had a row which now is none."""
    async with driven(settings, begun.world) as index:
        await index.settle()
        whole = tidy(await index.tables())
        pool = index.indexer.pool
        await pool.execute("update payment_event set total = null where kind = 'deposited'")
        await pool.execute("update decoded set revision = 0 where name = 'Deposited'")
        kept = await pool.fetch("select xmin::text from device_event")
    async with driven(settings, begun.world) as index:
        await index.settle()
        assert await index.tables() == whole
        assert await index.indexer.pool.fetch("select xmin::text from device_event") == kept


async def test_the_operator_sees_how_far_it_is(begun: Model, settings: Settings) -> None:
    with older(e.Deposited):
        async with driven(settings, begun.world) as index:
            await index.settle()
    async with driven(settings, begun.world) as index:
        left = []
        while await index.mirror.step():
            left.append(index.metric("corechain_catching_up_blocks", what="events"))
        assert left == sorted(left, reverse=True)
        assert left[0] > 0
        assert left[-1] == 0


# ------------------------------------------------------------------------- revisions

EXAMPLES: list[e.Event] = [
    e.DeviceRegistered(b"\1" * 20, b"\2" * 20, 2, b"\3" * 32, b"\4" * 32),
    e.DeviceMaterialised(b"\1" * 20, b"\2" * 20, 1, b"\5" * 26),
    e.DeviceTransferred(b"\1" * 20, b"\2" * 20, b"\3" * 20),
    e.DeviceRevoked(b"\1" * 20, 77),
    e.FleetEnrolled(b"\5" * 26, b"\2" * 20, 1, b"\1" * 20 + b"\2" * 20),
    e.BatchCommitted(5, b"\6" * 26),
    e.BatchesCommitted(8, b"\6" * 26 + b"\7" * 26),
    e.RootProposed(5 << 48 | 6 << 16 | 9, 12, 1000),
    e.RootVetoed(9),
    e.RewardClaimed(b"\2" * 20, 3, 10),
    e.PaymentChannelCreated(NAME, CONFIG),
    e.Deposited(NAME, b"\2" * 20, 4, 9),
    e.VoucherClaimed(NAME, b"\2" * 20, 4, 9),
    e.Redeemed(NAME, b"\2" * 20, 4, 9),
    e.RedeemedMany((NAME[:20] + (11).to_bytes(12, "big"),)),
    e.Refunded(NAME, b"\2" * 20, 4),
    e.WithdrawInitiated(NAME, 4, 99),
    e.WithdrawFinalized(NAME, b"\2" * 20, 4),
    e.StateChannelOpened(bytes(range(96))),
    e.StateChannelToppedUp(NAME, 7 << 168 | 6 << 80 | 5 << 40 | 4),
    e.StateChannelChallenged(NAME, 7 << 168 | 6 << 80 | 5 << 40 | 4),
    e.StateChannelClosed(NAME, 7 << 168 | 6 << 80 | 5 << 40 | 4),
]
MADE: dict[str, tuple[int, str]] = {
    "DeviceRegistered": (1, "c6627c806cd1d401"),
    "DeviceMaterialised": (1, "a2d87bb41e2276de"),
    "DeviceTransferred": (1, "b1e78ac23c455f9b"),
    "DeviceRevoked": (1, "30b1f38ad002cff8"),
    "FleetEnrolled": (1, "dfc608047e92348f"),
    "BatchCommitted": (1, "2aa89b7531cbb3ed"),
    "BatchesCommitted": (1, "fb3946df07534bcd"),
    "RootProposed": (1, "e3ba16c33e434f31"),
    "RootVetoed": (1, "79a9d3c0bcf31a88"),
    "RewardClaimed": (1, "acd94da9c5180e86"),
    "PaymentChannelCreated": (1, "d3b21d80eed3a20c"),
    "Deposited": (1, "102058b3e962d157"),
    "VoucherClaimed": (1, "81d5fc903f2417d3"),
    "Redeemed": (1, "91edb9f167c89f00"),
    "RedeemedMany": (1, "1825fee0676f510e"),
    "Refunded": (1, "83031cf6fbee62dc"),
    "WithdrawInitiated": (1, "6a556a42468dd376"),
    "WithdrawFinalized": (1, "a60e86ce3092d170"),
    "StateChannelOpened": (1, "dd8ebecfec57fa5e"),
    "StateChannelToppedUp": (1, "ee291ff270ed67af"),
    "StateChannelChallenged": (1, "5cfa35f0909139b9"),
    "StateChannelClosed": (1, "18e75c8e6b9fda76"),
}
"""Revision, and a digest of the rows with the names of their columns. Where this fails, rows have
changed: raise the kind's revision in `kinds.py`, so that every index makes them anew, then write
the new pair here."""


def rows_of(event: e.Event) -> dict[str, list[tuple[Any, ...]]]:
    topics, data = encoded(event)
    log = Log(b"\xc0" * 20, tuple(topics), data, 7, b"\2" * 32, b"\3" * 32, 1)
    found = Projected.of([log], 31337)
    assert not found.malformed
    del found.tables["event"]
    return dict(found.tables)


def test_every_kind_gives_rows_of_its_table() -> None:
    assert set(KINDS) == projections.PROJECTED == {type(event) for event in EXAMPLES}
    assert {type(event): list(rows_of(event)) for event in EXAMPLES} == {
        kind: [made.table] for kind, made in KINDS.items()
    }


def test_rows_change_with_the_revision_only() -> None:
    found = {}
    for event in EXAMPLES:
        ((table, rows),) = rows_of(event).items()
        named = [sorted(zip(COLUMNS[table], row, strict=True)) for row in rows]
        digest = hashlib.sha256(repr(named).encode()).hexdigest()[:16]
        found[type(event).__name__] = (KINDS[type(event)].revision, digest)
    assert found == MADE


def test_what_the_database_completes_from_other_rows_follows_them() -> None:
    ours = decoders()
    known = {
        t: decoding.Decoded(t, d.name, d.revision - (d.name == "Redeemed"), None)
        for t, d in ours.items()
    }
    anew, forgotten = decoding.to_decode(known, ours)
    assert {decoder.name for decoder in anew} == {"Redeemed", "RedeemedMany"}
    assert not forgotten
