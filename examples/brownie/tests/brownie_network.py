"""A Brownie project on a CoreChain network that runs: ABIs, a consumer of ours, a proof.

`make brownie` runs it (see README.md). The SDK asks and proves; Brownie deploys and calls.
"""

import os
import time
from pathlib import Path

import pytest
from brownie import Contract, Thermometer, accounts

from corechain import Client, Observation, account_from_key, cell_of
from corechain.deployment import load_abi
from corechain.devnet.cover import device_of_first_lane
from corechain.devnet.settings import ADMIN_KEY
from corechain.status import find_places

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def client():
    places = find_places(Path(os.environ["CORECHAIN_HOME"]), {})
    account = account_from_key(ADMIN_KEY)  # of `corechain up` only: everybody knows it
    with Client(places.api, places.gateway, places.rpc, places.deployment, account) as made:
        yield made


@pytest.fixture(scope="module")
def batches(client):
    """DataBatches from its manifest and the ABI that the SDK ships."""
    address = "0x" + client.contracts.address("DataBatches").hex()
    return Contract.from_abi("DataBatches", address, load_abi("DataBatches"))


def newest(client):
    found = client.batches(limit=100_000)
    return max((row["batch_id"] for row in found if row["batch_id"] >> 32 == 0), default=0)


def test_contracts_are_called_by_their_abis(client, batches):
    assert batches.challengeWindow() > 0
    assert batches.RING_SIZE() == 8192
    token = Contract.from_abi(
        "CoreToken", "0x" + client.contracts.address("CoreToken").hex(), load_abi("CoreToken")
    )
    assert batches.bondToken() == token.address


def test_a_consumer_is_deployed_and_shown_a_proof(client, batches):
    key, cell, after = device_of_first_lane(), cell_of(40.69, -74.17), newest(client)
    device = key.identity.device
    client.register_device(key)
    # Nothing of the time is in what is committed before it.
    time.sleep(2)
    start = int(time.time())
    report = client.sign_report(
        key, 1, [Observation.in_unit("air_temperature", cell, start + n, 21.5 + n) for n in (0, 1)]
    )
    (delivery,) = client.send_reports([report], patience_s=PATIENCE_S)
    assert delivery.accepted
    thermometer = Thermometer.deploy(batches, "0x" + device.hex(), cell, {"from": accounts[7]})
    answer = proven(client, device, cell, start, after)
    transaction = thermometer.show(start, start + 1, answer.as_abi(), {"from": accounts[7]})
    assert (thermometer.count(), thermometer.sum()) == (2, 2150 + 2250)
    assert abs(thermometer.committedAt() - start) < PATIENCE_S
    print(f"a proof of {len(answer.steps)} batches: {transaction.gas_used:,} gas")


def proven(client, device, cell, start, after):
    """Once the readings are in a batch that the index has verified."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        answer = client.contract_answer(
            "air_temperature", device, cell, start, start + 1, after=after
        )
        if answer.statistics.count:
            return answer
        time.sleep(0.2)
    raise AssertionError("the readings were not committed in time")
