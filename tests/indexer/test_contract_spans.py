"""Statistics of every batch between two: from the real API, proven by a contract on the real chain.

given batches of a lane, committed one after the other
  a contract proves the answer that the SDK makes, and nothing that lacks a batch
  only two ids of one lane, in order, and a device at a cell are a question
"""

import asyncio
from typing import Any

import httpx
import pytest_asyncio
from support.bench import ROOT, artefact
from support.flows import carried_out
from support.processes import PATIENCE_S, eventually
from web3 import Web3

from corechain.contract_answers import ContractAnswer, contract_answer
from corechain.flows import Question
from corechain.protocol.vocabulary import metric
from corechain.steps import Request
from indexer.support import CELL, HOUR_S, START, Driven, World, device_of, get

DAY_S, DAYS = 86_400, 4
COMPILED = ROOT / "out"


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    """A batch a day of readings, a minute between the commits."""
    for _ in range(DAYS):
        world.pass_time(60)
        world.add()
    await indexer.settle()
    return indexer


async def answered(world: World, api: httpx.AsyncClient, *given: Any) -> ContractAnswer:
    loop = asyncio.get_running_loop()

    def answer(request: Request) -> Any:
        params = {("from_" if key == "from" else key): v for key, v in request.params.items()}
        asked = get(api, request.path, **params)
        return asyncio.run_coroutine_threadsafe(asked, loop).result(PATIENCE_S)

    question, *rest = given
    flow = contract_answer(question, world.chain, *rest)
    return await asyncio.to_thread(carried_out, flow, answer)


def proven(world: World, answer: ContractAnswer, closes_at: int) -> Any:
    """By a contract, as an eth_call to its creation and use."""
    web3 = Web3(Web3.HTTPProvider(world.chain.rpc_url))
    # `make test` compiles the contracts beside the first tests.
    assert eventually(lambda: any(COMPILED.glob("Asker.sol/Asker.json")), 4 * PATIENCE_S)
    made = artefact("Asker")
    batches = web3.to_checksum_address(world.chain.deployment.address("DataBatches"))
    account = web3.eth.accounts[0]
    factory = web3.eth.contract(abi=made["abi"], bytecode=made["bytecode"]["object"])
    hash_ = factory.constructor(batches).transact({"from": account})
    place = web3.eth.wait_for_transaction_receipt(hash_, timeout=PATIENCE_S)["contractAddress"]
    asker = web3.eth.contract(address=place, abi=made["abi"])
    question = answer.question
    device = web3.to_checksum_address(question.device)
    span = (answer.lane, question.metric.code, question.cell, device, question.start, question.end)
    return asker.functions.prove((*span, closes_at), answer.as_abi()).call()


async def test_a_contract_proves_what_the_sdk_has_made(world: World, served: Driven) -> None:
    device = world.keys[0].identity.device
    question = Question(metric(1), device, CELL, START + DAY_S, START + DAY_S + 20 * HOUR_S)
    second_last = world.chain.committed_at(DAYS - 1, world.chain.commitment_of(DAYS - 1))
    async with served.api() as api:
        answer = await answered(world, api, question, 0, second_last)
    assert [step[0][0] for step in answer.steps] == [1, 2, 3]
    found = await asyncio.to_thread(proven, world, answer, second_last)
    statistics = answer.statistics
    assert statistics.count == 6
    assert found[3] == statistics.count
    assert (found[2], found[4], found[5]) == (statistics.sum, statistics.min, statistics.max)


async def test_what_is_no_span_of_a_lane_is_refused(world: World, served: Driven) -> None:
    asked = {"metric": "1", "device": device_of(world), "cell": f"{CELL:015x}"}
    one_lane = {"first_batch": 1, "last_batch": 2}
    wrong = [
        asked | {"first_batch": 1},
        asked | {"last_batch": 2},
        asked | {"first_batch": 2, "last_batch": 1},
        asked | {"first_batch": 1, "last_batch": 1 << 32},
        asked | {"first_batch": 0, "last_batch": 1},
        {name: value for name, value in (asked | one_lane).items() if name != "cell"},
        {name: value for name, value in (asked | one_lane).items() if name != "device"},
    ]
    async with served.api() as api:
        assert (await api.get("/v1/statistics", params=asked | one_lane)).status_code == 200
        for params in wrong:
            response = await api.get("/v1/statistics", params=params)
            assert (response.status_code, "batch" in response.text) == (400, True), params
