"""A challenger is operated as the roles of a relayer are.

given a challenger's process, and its journal
  its transactions are shown and steered at the port of operations, and not at the other one
  what neither port has is refused by problem details
  what an operator has to know of its queues is in the warnings of `/ready`
  its gas has an end at the budget of a day, and that is a warning too
  who cancels there is told that it comes again; a queue that nobody looks after names the command
"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.routing import Route

from corechain.deployment import DeployedContract, Deployment
from corechain.service.database import connect
from corechain.service.settings import InvalidSetting
from corechain_relayer.challenger.app import application
from corechain_relayer.challenger.process import ChallengerProcess
from corechain_relayer.challenger.settings import ChallengerSettings
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.held import Waits
from relayer.challenging import CHALLENGER_KEY
from relayer.support import SUBMITTER_KEY

TOKEN = "a token of sixteen or more"
BUDGET = 10**16
BEARER = {"authorization": f"Bearer {TOKEN}"}
INTENTS = """
    insert into intent (queue, key, target, calldata, state)
    select queue, key, decode(repeat('05', 20), 'hex'), '', 'queued'
    from (values ('challenger', 'challenge:7.aa:1:1'), ('vetoes', 'veto:1:aa:1'))
         as new (queue, key)
"""


@pytest.fixture
async def process(database: str, anvil: str, tmp_path: Path) -> AsyncIterator[ChallengerProcess]:
    connection = await connect(database)
    await connection.execute(INTENTS)
    await connection.close()
    registry = DeployedContract("DeviceRegistry", bytes(20), 1)
    settings = ChallengerSettings(
        deployment=Path("none.json"),
        data_dir=tmp_path,
        rpc_url=anvil,
        database_url=database,
        challenger_key=CHALLENGER_KEY,
        guardian_key=SUBMITTER_KEY,
        ops_token=TOKEN,
        ops_port=8711,
        challenger_budget_a_day=BUDGET,
    )
    made = ChallengerProcess(settings, Deployment(31337, {"DeviceRegistry": registry}))
    await made.prepare()
    yield made
    await made.close()


async def test_its_transactions_are_steered_at_the_port_of_operations_alone(
    process: ChallengerProcess,
) -> None:
    public, ops = (
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=BEARER)
        for app in process.apps()
    )
    listed = (await ops.get("/v1/transactions", params={"queue": "challenger"})).json()
    assert [one["key"] for one in listed["transactions"]] == ["challenge:7.aa:1:1"]
    for path in ("/v1/transactions", "/metrics", "/health/"):
        missing = await public.get(path)
        assert (missing.status_code, missing.json()["status"]) == (404, 404)
        assert missing.headers["content-type"] == "application/problem+json"
    for app in (public, ops):
        refused = await app.post("/health")
        assert (refused.status_code, refused.json()["title"] != "") == (405, True)
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
        assert (await app.options("/ready")).status_code == 204
    assert (await ops.get("/metrics")).status_code == 200
    shown = (await ops.get("/v1/transactions/veto:1:aa:1")).json()
    assert "`corechain challenger run`" in " ".join(shown["explanation"])
    for queue, key in (("challenger", "challenge:7.aa:1:1"), ("vetoes", "veto:1:aa:1")):
        done = await ops.post(f"/v1/transactions/{key}/cancel")
        assert f"`corechain tx pause {queue}`" in done.json()["note"]


async def test_what_breaks_inside_is_told_as_a_problem_without_its_cause() -> None:
    def breaks(request: object) -> None:
        raise RuntimeError("a secret")

    app = application([Route("/health", breaks)], Metrics())  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert "secret" not in answer.text


async def test_what_is_odd_in_its_queues_is_a_warning(process: ChallengerProcess) -> None:
    assert any("transactions" in str(loop) for loop in process.loops())
    public, ops = (
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=BEARER)
        for app in process.apps()
    )
    for queue in ("challenger", "vetoes"):
        assert (await ops.post(f"/v1/queues/{queue}/pause")).status_code == 202
    for watched in process.transactions.queues:
        await process.transactions.look(watched)
    warnings = (await public.get("/ready")).json()["warnings"]
    assert [one.split(" is paused")[0] for one in warnings] == ["challenger", "vetoes"]


async def test_a_token_without_a_port_of_operations_is_refused(process: ChallengerProcess) -> None:
    process.settings = process.settings.model_copy(update={"ops_port": None})
    with pytest.raises(InvalidSetting, match="RELAYER_OPS_PORT is not"):
        process.apps()


async def test_challenges_and_vetoes_end_at_the_budget_of_a_day(process: ChallengerProcess) -> None:
    assert process.role().policy().budget == BUDGET
    budget = "the budget of 24 hours is used up: nothing more is signed for now"
    process.alerts.sending(Waits(budget))
    assert any(budget in warning for warning in process.alerts.sentences())
