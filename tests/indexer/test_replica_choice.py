"""Who is asked, a primary or its replica, and how far behind that is: without servers.

given a primary that stands still, and a replica that goes on
  ├── questions leave it once it is known to be away, not before
  └── so does the probe of `/ready`, while what asks for the primary itself hears nothing
given positions of the primary's log, as they were seen
  └── a replica is as old as the newest moment of which it has everything
"""

import asyncio
from typing import Any, cast

import pytest
from support.processes import PATIENCE_S

from corechain.service.errors import StoreUnavailable
from corechain.service.health import Health
from corechain_indexer.store import replica
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.replica import (
    PRIMARY,
    Lag,
    PrimaryFirst,
    Replica,
    ReplicaReads,
    position_of,
)

MOMENT_S = 0.05
"""So long it is watched that something does not come: more would only take longer."""


class Standing:
    """A server whose questions wait until it goes on."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()

    async def fetchval(self, query: str, *arguments: Any) -> str:
        await self.goes_on.wait()
        return query


async def test_a_primary_that_stands_still_is_left_once_it_is_known_to_be_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not before: a question that takes long is no outage."""
    monkeypatch.setattr(replica, "LOOK_S", 0.01)
    primary, follows = Standing(), Standing()
    follows.goes_on.set()
    replicas = [Replica("replica", cast(Any, follows), 0.0, "")]
    reads = ReplicaReads(cast(Any, primary), replicas, 10.0)
    asks = [cast(Any, reads.pool_of(PRIMARY)), PrimaryFirst(reads)]
    async with asyncio.timeout(PATIENCE_S):
        waits = [asyncio.create_task(one.fetchval("late")) for one in asks]
        done, _ = await asyncio.wait(waits, timeout=MOMENT_S)
        assert not done
        reads._primary_away = True
        left, answered = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(left, StoreUnavailable)
        assert answered == "late", "of a replica: who asks has no source of its own"
        primary.goes_on.set()
        assert await asks[0].fetchval("back") == "back"


async def test_a_process_stays_ready_while_its_primary_stands_still_and_a_replica_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica, "LOOK_S", 0.01)
    monkeypatch.setattr("corechain.service.health.TIMEOUT_S", 0.5)
    primary = Standing()
    follows = Replica("replica", cast(Any, Standing()), 0.0, "")
    reads = ReplicaReads(cast(Any, primary), [follows], 10.0)
    itself = Reads(cast(Any, primary)).ping
    health = Health({"database": reads.ping}, itself={"database": itself})
    reads._primary_away = True
    assert await health.failing() == {}
    assert await health.is_silent("database", MOMENT_S), "who needs the primary must not wait"
    follows.is_unwell("it is away, too")
    # Of a process that heard no answer lately: one of the last seconds counts a little longer.
    assert "database" in await Health({"database": reads.ping}).failing()
    primary.goes_on.set()
    assert await health.failing() == {}


def test_lag_is_the_age_of_the_newest_moment_that_was_replayed_whole() -> None:
    lag = Lag()
    assert lag.of(5.0, 100) == float("inf")
    for at, position in ((10.0, 100), (11.0, 100), (12.0, 250), (13.0, 250)):
        lag.note(at, position)
    assert lag.of(14.0, 250) == 1.0, "an idle primary makes no lag"
    assert lag.of(14.0, 249) == 3.0
    assert lag.of(14.0, 99) == float("inf")
    assert lag.of(60.0, 900) == 47.0, "while the primary is not seen it grows"


def test_positions_of_the_log_compare_as_numbers() -> None:
    assert position_of("0/FFFFFFFF") < position_of("1/0") < position_of("A/1")
