"""An operator is told of what will stop transactions before it does.

given samples of a balance
  the pace is what was spent, whatever was topped up, and the days are what is left of it
given a queue
  a key that runs dry, a head that stands still, a gap, a pause and a near deadline are conditions
  they are in metrics and warnings of `/ready`, and posted when they begin and when they are over
given a watcher of other queues
  neither takes the other's alerts for over
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.service.alerting.alerts import Alerts as Messages
from corechain.service.alerting.sender import target_of
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Rpc
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.node import NO_FUNDS
from corechain_relayer.submitter.urgency import Pace
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.node_facts import NodeFacts
from corechain_relayer.transactions.rows import Health
from corechain_relayer.transactions.rules import TransactionRules
from corechain_relayer.transactions.spending import Sample, days_left, spent_a_day
from corechain_relayer.transactions.watch import (
    DEADLINE,
    GROUNDS,
    KINDS,
    LOW_BALANCE,
    NONCE_GAP,
    PAUSED,
    STUCK_HEAD,
    Limits,
    State,
    TransactionWatch,
    Watched,
    conditions,
)
from relayer.lane import Lane

DAY_S, HOUR_S, ETHER = 86_400.0, 3_600.0, 10**18
LIMITS = Limits(3.0, 600.0)
SENDER = b"\5" * 20
WATCHED = Watched("lane:0", SENDER)


def samples(*balances: int, step_s: float = HOUR_S) -> list[Sample]:
    last = len(balances) - 1
    return [Sample((last - n) * step_s, balance) for n, balance in enumerate(balances)]


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 10**24), min_size=2, max_size=9),
    st.floats(HOUR_S, DAY_S),
)
def test_the_pace_is_never_below_what_is_gone_and_the_days_are_what_is_left_of_it(
    balances: list[int], step_s: float
) -> None:
    found = samples(*balances, step_s=step_s)
    pace, left = spent_a_day(found), days_left(found)
    assert pace is not None
    assert left is not None
    span_days = (len(balances) - 1) * step_s / DAY_S
    gone = max(0, balances[0] - balances[-1])
    assert pace * span_days >= gone * (1 - 1e-9)
    lasting = float("inf") if balances[-1] else 0.0
    assert left == (pytest.approx(balances[-1] / pace) if pace else lasting)


def test_a_top_up_is_no_spending_and_minutes_are_no_pace() -> None:
    assert spent_a_day(samples(3 * ETHER, 2 * ETHER, 9 * ETHER, 8 * ETHER)) == 16 * ETHER
    assert days_left(samples(3, 2, step_s=60.0)) is None
    assert days_left(samples(3)) is None
    assert days_left(samples(3, 4)) == float("inf")
    # An empty key spends nothing, since it cannot.
    assert days_left(samples(0)) == days_left(samples(0, 0, 0)) == 0


def state(**changes: Any) -> State:
    fine: dict[str, Any] = {
        "watched": WATCHED,
        "health": Health("batch:1", 5.0, 4),
        "node": NodeFacts(9, 1, 4, ETHER),
        "gap": 0,
        "days_left": 9.0,
        "pace": Pace(),
    }
    return State(**fine | changes)


CASES: list[tuple[dict[str, Any], list[str], str]] = [
    ({}, [], ""),
    ({"days_left": None}, [], ""),
    ({"days_left": float("inf")}, [], ""),
    ({"days_left": 2.9}, [LOW_BALANCE], "enough for 2.9 days"),
    ({"health": Health("batch:1", 601.0, 4)}, [STUCK_HEAD], "corechain tx explain batch:1"),
    ({"health": Health(None, 0.0, None)}, [], ""),
    ({"gap": 2}, [NONCE_GAP], "2 nonces below 4"),
    ({"health": Health(None, 0.0, None, "fees")}, [PAUSED], "corechain tx resume lane:0"),
    (
        {"health": Health("batch:1", 5.0, 4, None, "RegistrationGone", "a reorg")},
        [GROUNDS],
        "reorg",
    ),
    ({"health": Health("batch:1", 5.0, 4, None, "WouldRevert", "it says no")}, [], ""),
    ({"pace": Pace(20.0, 100.0)}, [DEADLINE], "20 s of 100 s"),
    ({"pace": Pace(30.0, 100.0)}, [], ""),
]


@pytest.mark.parametrize(("changes", "kinds", "words"), CASES)
def test_each_trouble_is_a_condition_and_its_neighbour_is_none(
    changes: dict[str, Any], kinds: list[str], words: str
) -> None:
    found = conditions(state(**changes), LIMITS)
    assert [item.kind for item in found] == kinds
    assert all(words in item.summary and item.key == "tx:lane:0" for item in found)


def watch_of(lane: Lane, *queues: str) -> TransactionWatch:
    watch = TransactionWatch(lane.pool, lane.rpc, LIMITS, Metrics())
    for queue in queues:
        watch.add(queue, lane.submitter.signer.address)
    return watch


async def looked(watch: TransactionWatch) -> list[str]:
    for watched in watch.queues:
        await watch.look(watched)
    return [item.kind for each in watch.standing.values() for item in each]


async def told(lane: Lane, watch: TransactionWatch) -> list[tuple[str, str, str]]:
    """What receivers are posted when it has been so for an hour: type, kind and key."""
    rules, connection = TransactionRules(watch), lane.journal.connection
    target = target_of("http://receiver", "transactions")
    await connection.execute("update alert set since = since - interval '1 hour'")
    messages = Messages(connection, rules, [target], 31337, lambda *_: None, DAY_S)
    await messages.step()
    await connection.execute("update alert set since = since - interval '1 hour'")
    await messages.step()
    rows = await connection.fetch("delete from webhook returning id, body")
    bodies = [json.loads(row["body"]) for row in sorted(rows, key=lambda row: row["id"])]
    return [(body["type"], body["alert"], body["key"]) for body in bodies]


async def test_troubles_are_warnings_and_metrics_and_posted_once(lane: Lane) -> None:
    watch, connection = watch_of(lane, "lane:0"), lane.journal.connection
    await lane.want(1)
    assert await looked(watch) == []
    assert watch.warnings() == []
    assert await told(lane, watch) == []

    await connection.execute("update intent set created_at = now() - interval '1 hour'")
    await Book(lane.pool).pause("lane:0", "fees")
    assert await looked(watch) == [STUCK_HEAD, PAUSED]
    assert "corechain tx explain batch:1" in " ".join(watch.warnings())
    labels = ("lane:0",)
    assert watch.metrics.queue_paused.labels(*labels)._value.get() == 1
    assert watch.metrics.queue_head_age.labels(*labels)._value.get() > 3_000
    assert watch.metrics.key_balance.labels(*labels)._value.get() > ETHER
    key = "tx:lane:0"
    begun = await told(lane, watch)
    assert sorted(begun) == [("fired", PAUSED, key), ("fired", STUCK_HEAD, key)]
    assert await told(lane, watch) == []

    others = watch_of(lane, "guard")
    await looked(others)
    assert await told(lane, others) == []  # not over: it has looked at other queues

    await Book(lane.pool).resume("lane:0")
    await lane.until_confirmed("batch:1")
    assert await looked(watch) == []
    over = await told(lane, watch)
    assert sorted(over) == [("resolved", PAUSED, key), ("resolved", STUCK_HEAD, key)]


async def test_a_gap_below_what_waits_is_found(lane: Lane) -> None:
    await lane.want(1)
    chain = lane.chain
    chain.rpc("evm_setAutomine", False)
    await lane.submitter.step()
    watch = watch_of(lane, "lane:0")
    assert await looked(watch) == []
    # As if a transaction by hand had had the nonces below, and a reorg had taken it back.
    for table in ("intent", "attempt"):
        await lane.journal.connection.execute(f"update {table} set nonce = nonce + 2")
    assert await looked(watch) == [NONCE_GAP]
    assert watch.metrics.nonce_gap.labels("lane:0")._value.get() == 2
    chain.rpc("anvil_dropAllTransactions")
    chain.rpc("evm_setAutomine", True)


async def spent_since(lane: Lane, rows: Sequence[tuple[float, int]]) -> None:
    sender = lane.submitter.signer.address
    for age_s, balance in rows:
        await lane.journal.connection.execute(
            "insert into balance_sample values ($1, now() - make_interval(secs => $2), $3)",
            sender,
            age_s,
            balance,
        )


async def test_a_balance_that_lasts_for_a_day_is_said_with_the_days(lane: Lane) -> None:
    sender = lane.submitter.signer.address
    node = f"0x{sender.hex()}"
    now = int(lane.chain.rpc("eth_getBalance", node, "latest"), 16)
    await spent_since(lane, [(4 * DAY_S, 9 * now), (DAY_S, 2 * now)])
    watch = watch_of(lane, "lane:0")
    assert await looked(watch) == [LOW_BALANCE]
    (found,) = watch.standing["lane:0"]
    assert found.kind == LOW_BALANCE
    assert 0.9 < json.loads(found.details)["days_left"] < 1.1  # what is older than 3 days is gone
    kept = await Book(lane.pool).balances(sender)
    assert len(kept) == 2
    await looked(watch)
    assert len(await Book(lane.pool).balances(sender)) == 2  # ten minutes apart

    await lane.journal.connection.execute("delete from balance_sample")
    await lane.want(1)
    assert await looked(watch) == []
    # What is left does not do for a transaction: nothing is spent, and it does not last for ever.
    await lane.journal.connection.execute(
        "update intent set wait_kind = $1, wait_reason = 'no', waiting_since = now()", NO_FUNDS
    )
    assert await looked(watch) == [LOW_BALANCE]
    assert watch.metrics.key_days_left.labels("lane:0")._value.get() == 0


async def test_a_node_that_is_away_leaves_what_was_known_and_what_the_journal_tells(
    lane: Lane,
) -> None:
    watch = watch_of(lane, "guard", "lane:0")
    await spent_since(lane, [(DAY_S, 10**30)])
    await lane.want(1)
    assert await looked(watch) == [LOW_BALANCE, LOW_BALANCE]
    await lane.journal.connection.execute("update intent set created_at = now() - interval '1 day'")
    away = Rpc("http://127.0.0.1:1", 1.0)
    watch.rpc = away
    with pytest.raises(NodeUnavailable):
        await watch.watch_forever()
    found = {queue: [item.kind for item in said] for queue, said in watch.standing.items()}
    assert found == {"guard": [LOW_BALANCE], "lane:0": [STUCK_HEAD, LOW_BALANCE]}
    assert watch.metrics.queue_head_age.labels("lane:0")._value.get() > HOUR_S
    await away.close()


def test_every_kind_can_fire() -> None:
    rules = TransactionRules.__new__(TransactionRules)
    assert set(TransactionRules.after_s(rules)) == set(KINDS)
