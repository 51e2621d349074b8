"""The guard dies, the chain turns, servers go away: the demand is answered all the same, in time.

given an open demand
  when the guard is killed between any two of its writes
    the next one answers, and once
  when a reorg undoes the answer, the demand, or moves it
    what is open then is answered
  when database or node are away, or there is no bus at all
    it goes on by itself, and answers
"""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from support.processes import PATIENCE_S

from corechain.deployment import load_deployment
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer
from corechain.protocol.evidence import Demand, Dossier
from corechain.service.supervision import stop_all
from corechain_relayer.guard.store import AnswerStore
from corechain_relayer.service import Relayer, Role
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from relayer.conftest import Start
from relayer.demands import ANSWER_WINDOW_S, GUARD, GUARDED, Challenger, committed
from relayer.support import Chain, RelayerProcess, Sensor, eventually
from relayer.test_crash import Died, Moment, dying, settings_of
from relayer.test_guard import by_guard, logged, metric

NOBODY_THERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def challenger(chain: Chain) -> Challenger:
    return Challenger(chain)


@pytest.fixture
def batch(chain: Chain, tmp_path: Path, sensor: Sensor) -> Dossier:
    """The first batch of our lane."""
    return committed(chain, tmp_path / "data", sensor)


# ------------------------------------------------------------------------------ crashes

MOMENTS = {
    "the answer is not recorded": Moment(AnswerStore, "record", False),
    "the answer is recorded, nothing is signed": Moment(AnswerStore, "record", True),
    "the transaction is signed, not journalled": Moment(IntentJournal, "record", False),
    "the transaction is journalled, not sent": Moment(IntentJournal, "record", True),
    "the transaction is sent, that is not journalled": Moment(Node, "send", True),
    "the transaction is marked as sent": Moment(IntentJournal, "mark_sent", True),
    "the block is seen, that is not journalled": Moment(IntentJournal, "confirm", False),
    "the confirmation is journalled": Moment(IntentJournal, "confirm", True),
}


async def guarding(
    relayer: Relayer, challenger: Challenger, demand_id: bytes, *, dies: bool = False
) -> bool:
    """The guard of one process until the demand is answered, or for one that `dies` until then:
    what it writes after its answer is in a block comes when it comes. True when it died."""
    died = False
    try:
        await relayer.prepare([Role.GUARD])
        await relayer.migrate()
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            loops = [group.create_task(loop()) for loop in relayer.guard()]
            while dies or challenger.is_open(demand_id):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)  # time to do something twice
            await stop_all(loops)
    except* Died:
        died = True
    finally:
        await relayer.close()
    return died


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
async def test_killed_between_two_writes_the_next_one_answers(
    moment: Moment,
    environment: dict[str, str],
    batch: Dossier,
    challenger: Challenger,
    chain: Chain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_of(environment | GUARDED)
    deployment = load_deployment(settings.deployment)
    demand_id = challenger.at(Demand.STATISTICS, batch, 2)
    with dying(moment, monkeypatch):
        first = Relayer(settings, deployment)
        assert await guarding(first, challenger, demand_id, dies=True)
    if challenger.is_open(demand_id):
        assert not await guarding(Relayer(settings, deployment), challenger, demand_id)
    (receipt,) = challenger.answers(demand_id)
    assert by_guard(receipt)
    assert int(chain.rpc("eth_getTransactionCount", GUARD, "latest"), 16) == 1


def test_of_two_guards_one_answers_and_the_other_takes_over(
    start: Start, batch: Dossier, challenger: Challenger, chain: Chain
) -> None:
    leader = start("guard", **GUARDED)
    eventually(lambda: leader.get("/ready").json()["loops"]["guard-answers"] == "running")
    standby = start("guard", **GUARDED)
    challenger.awaited(challenger.at(Demand.READING, batch, 0))
    eventually(lambda: standby.get("/ready").json()["loops"]["guard-answers"] == "standby")
    leader.kill()
    challenger.awaited(challenger.at(Demand.READING, batch, 1))
    assert int(chain.rpc("eth_getTransactionCount", GUARD, "latest"), 16) == 2


# ------------------------------------------------------------------------------- reorgs


@pytest.fixture
def guard(start: Start) -> RelayerProcess:
    return start("guard", **GUARDED, RELAYER_RESEND_AFTER_S="0.2", RELAYER_REFUSED_PAUSE_S="0.3")


def block_of(receipt: dict[str, str]) -> str:
    return receipt["blockHash"]


def test_an_answer_that_a_reorg_undoes_is_given_again(
    guard: RelayerProcess, batch: Dossier, challenger: Challenger, chain: Chain
) -> None:
    demand_id = challenger.at(Demand.READING, batch, 0)
    (before,) = challenger.awaited(demand_id)
    eventually(lambda: logged(guard, "intent confirmed"))
    chain.reorg(1)
    chain.rpc("evm_mine")
    (after,) = challenger.awaited(demand_id)
    assert block_of(after) != block_of(before)


def test_a_demand_that_a_reorg_moves_to_another_block_is_answered_there(
    guard: RelayerProcess, batch: Dossier, challenger: Challenger, chain: Chain
) -> None:
    demand_id = challenger.at(Demand.READING, batch, 0)
    challenger.awaited(demand_id)
    eventually(lambda: logged(guard, "intent confirmed"))
    chain.reorg(2)
    for _ in range(2):
        chain.rpc("evm_mine")
    # Somebody else's transactions come again when they are sent again.
    if not challenger.is_open(demand_id) and not challenger.answers(demand_id):
        assert challenger.at(Demand.READING, batch, 0) == demand_id
    challenger.awaited(demand_id)
    other = challenger.at(Demand.REPORT, batch, 0)
    challenger.awaited(other)


def test_somebody_elses_answer_that_a_reorg_undoes_is_given_by_us(
    start: Start, batch: Dossier, challenger: Challenger, chain: Chain
) -> None:
    demand_id = challenger.at(Demand.READING, batch, 0)
    challenger.answer(batch, 0)
    guard = start("guard", **GUARDED)
    eventually(lambda: metric(guard, "corechain_view_block") > 0)
    assert metric(guard, "corechain_guard_demands_open") == 0
    chain.reorg(1)
    chain.rpc("evm_mine")
    challenger.awaited(demand_id)


# ------------------------------------------------------------------------------ outages


def test_the_guard_outlives_an_outage_of_its_database(
    start: Start, batch: Dossier, challenger: Challenger, tmp_path: Path
) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        url = server.create_database("relayer")
        guard = start("guard", **GUARDED, RELAYER_DATABASE_URL=url)
        server.kill()
        demands = [challenger.at(Demand.READING, batch, at) for at in (0, 1)]
        eventually(lambda: guard.get("/ready").status_code == 503)
        server.start()
        challenger.awaited(*demands)


def test_the_guard_outlives_a_node_that_hangs(
    start: Start, batch: Dossier, challenger: Challenger, anvil_server: AnvilServer
) -> None:
    guard = start("guard", **GUARDED, RELAYER_RPC_TIMEOUT_S="2")
    first = challenger.at(Demand.READING, batch, 0)
    challenger.awaited(first)
    os.kill(anvil_server.pid, signal.SIGSTOP)
    try:
        eventually(lambda: logged(guard, "view not refreshed"))
    finally:
        os.kill(anvil_server.pid, signal.SIGCONT)
    challenger.awaited(challenger.at(Demand.READING, batch, 1))


def test_a_guard_without_a_bus_answers(
    environment: dict[str, str], batch: Dossier, challenger: Challenger, tmp_path: Path
) -> None:
    """Its process waits for the bus with everything else: a deadline does not."""
    demand_id = challenger.at(Demand.REPORT, batch, 0)
    settings = environment | GUARDED | {"RELAYER_BUS_URL": NOBODY_THERE}
    process = RelayerProcess(settings, tmp_path)
    process.launch()
    try:
        challenger.awaited(demand_id)
    finally:
        process.close()


def test_a_batch_of_demands_with_little_time_left_is_answered_whole(
    start: Start, batch: Dossier, challenger: Challenger, chain: Chain
) -> None:
    demands = [challenger.at(Demand.READING, batch, at) for at in range(4)]
    chain.rpc("evm_increaseTime", ANSWER_WINDOW_S * 9 // 10)
    chain.rpc("evm_mine")
    start("guard", **GUARDED)
    challenger.awaited(*demands)
