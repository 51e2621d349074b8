"""Any value for any parameter of any public function ends in a value or in a CoreChainError, never
in TypeError, AttributeError, struct.error.
"""

import asyncio
import inspect
import json
import math
from contextlib import suppress
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import CELL, KEYS, START
from support.http import Script, answers

import corechain
from corechain import (
    METRICS,
    AsyncClient,
    Client,
    InvalidDeployment,
    InvalidValue,
    Observation,
    P256Key,
    Reading,
    Report,
    Secp256k1Key,
    SignedReport,
    account_from_key,
    cell_of,
    cells_in,
    load_deployment,
    metric,
)
from corechain.chain import Chain
from corechain.devnet.settings import ADMIN_KEY
from corechain.flows import Question
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.errors import (
    CoreChainError,
)
from corechain.protocol.evidence import Evidence
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType
from corechain.protocol.receipt_events import ReceiptDemanded
from corechain.protocol.receipts import Receipt, ReportReceipt, SignedReceipt
from corechain.protocol.rewards import Owner, RewardClaim
from corechain.readings import ReadingsQuestion
from corechain.receipts import KeptReceipt
from corechain.webhooks import check_webhook

DEVICE = KEYS[0].identity.device
HEX = "0x" + DEVICE.hex()

ODD = st.sampled_from(
    [
        None, "", "0x", "0x12", " ", "temperature ", True, False, math.nan, math.inf, -1, 0, 1.5,
        10**30, -(10**30), 10**5000, b"", b"\x00", bytes(20), [], (), [None], {}, object(),
        "0x" + "zz" * 20, "٣", "http://", "\x00", datetime(2013, 1, 1), date(2013, 1, 1),
    ]
) | st.integers() | st.text(max_size=4) | st.binary(max_size=4)  # fmt: skip
ADMIN = account_from_key(ADMIN_KEY)
KEY = KEYS[0]
SIGNED = SignedReport(Report.of(DEVICE, 1, [Observation(1, CELL, START, 5)]), bytes(64))
CONFIG = ChannelConfig(DEVICE, DEVICE, DEVICE, DEVICE, DEVICE, 900, bytes(32))
FLEET = Fleet.of(DEVICE, KeyType.SECP256K1, [DEVICE])
CLAIM = RewardClaim(Owner(DEVICE), 1, 0, ())
RECEIPT = ReportReceipt(SignedReceipt(Receipt(0, 1, 2, bytes(26), 1), bytes(64)), 0, ())
DEMANDED = ReceiptDemanded(bytes(32), 0, 1, 2, SIGNED.pack())
WINDOW = {"metric": 1, "device": DEVICE, "start": START, "end": START + 1}
CLIENT = {
    "register_device": {"key": KEY, "owner": DEVICE},
    "send_reports": {"reports": [SIGNED]},
    "next_sequence": {"device": DEVICE},
    "status": {},
    "batch": {"batch_id": 1},
    "batches": {"limit": 1, "after": 1, "state": "verified", "newest_first": True},
    "network": {},
    "device": {"device": DEVICE},
    "stations": {"metric": 1, "limit": 1, "cursor": "x"},
    "series": WINDOW | {"bucket_s": 3600, "limit": 1},
    "epochs": {"limit": 1, "cursor": "x"},
    "payment_channels": {"payer": DEVICE, "limit": 1, "cursor": "x"},
    "state_channels": {"party": DEVICE, "limit": 1, "cursor": "x"},
    "find_channel": {"channel_id": bytes(32)},
    "stream": {
        "since": "x",
        "finality": "final",
        "patience_s": 1.0,
        "device": [DEVICE],
        "metric": 1,
        "cell": CELL,
    },
    "devices": {"limit": 1},
    "latest": {"device": DEVICE},
    "rejections": {"batch_id": 1, "limit": 1},
    "reading": {"batch_id": 1, "position": 0},
    "readings": WINDOW | {"limit": 1},
    "statistics": WINDOW | {"cell": CELL},
    "contract_answer": WINDOW | {"cell": CELL, "after": 0, "closes_at": START + 9},
    "region_statistics": {
        "metric": 1,
        "region": [CELL],
        "start": START,
        "end": START + 1,
        "resolution": 7,
    },
    "history": {
        "device": DEVICE,
        "metric": 1,
        "start": START,
        "end": START + 1,
        "region": [CELL],
        "newest_first": True,
        "since_block": 1,
        "resolution": 7,
        "cursor": None,
        "gaps": "report",
        "progress": None,
    },
    "reward_claim": {"owner": DEVICE},
    "rewards_claimable": {"owner": DEVICE},
    "claim_rewards": {"owner": DEVICE},
    "open_channel": {"receiver": DEVICE, "amount": 1, "withdraw_delay_s": 900, "max_price": 1},
    "resume_channel": {"channel_id": bytes(32), "max_price": 1},
    "pay_with": {
        "deposit": 1,
        "max_price": 1,
        "most": 1,
        "receiver": DEVICE,
        "withdraw_delay_s": 900,
    },
    "channels": {},
    "close_channel": {},
    "sign_report": {"key": KEY, "sequence": 1, "observations": [Observation(1, CELL, START, 5)]},
    "question": WINDOW | {"cell": CELL},
    "readings_question": WINDOW,
}
CHAIN = {
    "call": {"contract": "CoreToken", "function": "balanceOf", "arguments": DEVICE},
    "send": {"account": ADMIN, "contract": "CoreToken", "function": "renounce"},
    "send_packed": {
        "account": ADMIN, "contract": "PaymentChannels", "function": "redeemGroupsBrief",
        "packed": b"",
    },
    "contract": {"name": "CoreToken"},
    "commitment_of": {"batch_id": 1},
    "commitments_of": {"batches": {1: None}},
    "is_newest": {"batch_id": 1},
    "committed_batches": {},
    "commitments_between": {"first_block": 0, "last_block": 1},
    "owner_and_key_type": {"device": DEVICE},
    "register_device": {
        "account": ADMIN, "identity": KEY.identity, "owner": DEVICE, "activation": bytes(64),
    },
    "enrol_fleet": {"account": ADMIN, "fleet": FLEET},
    "fleet_of": {"device": DEVICE},
    "public_key_of": {"device": DEVICE},
    "materialise": {"account": ADMIN, "fleet": FLEET, "device": DEVICE},
    "publish_keys": {"account": ADMIN, "keys": [bytes(64)]},
    "claim_rewards": {"account": ADMIN, "claim": CLAIM},
    "active_root": {},
    "balance_of": {"holder": DEVICE},
    "rewards_claimed": {"owner": DEVICE},
    "open_channel": {"account": ADMIN, "config": CONFIG, "amount": 1},
    "again": {"sent": None},
    "channel_balance": {"channel_id": bytes(32)},
    "pending_withdrawal": {"channel_id": bytes(32)},
    "time": {},
    "channel_balances": {"channel_ids": [bytes(32)]},
    "takes_packed_redemptions": {},
    "redeem": {"account": ADMIN, "vouchers": [(CONFIG, 1, bytes(64))]},
    "redeem_packed": {"account": ADMIN, "rows": []},
    "claim_and_settle": {"account": ADMIN, "rows": []},
    "name_receipt_signer": {"account": ADMIN, "lane": 0, "signer": DEVICE},
    "dismiss_receipt_signer": {"account": ADMIN, "lane": 0, "signer": DEVICE},
    "receipt_signer_until": {"lane": 0, "since": 1, "signer": DEVICE},
    "lane_bond_since": {"lane": 0},
    "demand_receipt": {
        "account": ADMIN, "receipt": RECEIPT, "report": SIGNED, "identity": KEY.identity,
    },
    "answer_receipt": {"account": ADMIN, "demanded": DEMANDED, "evidence": Evidence()},
    "excuse_receipt": {"account": ADMIN, "demanded": DEMANDED},
    "in_a_hurry": {"max_fee": 1, "within_s": 1.0},
    "initiate_withdraw": {"account": ADMIN, "config": CONFIG, "amount": 1},
    "finalize_withdraw": {"account": ADMIN, "config": CONFIG},
    "committed_at": {"batch_id": 1, "commitment": bytes(26)},
    "prove_reading": {"proven": None},
    "prove_range": {"part": None},
}  # fmt: skip
MADE = {
    "Observation": (Observation, {"metric": 1, "cell": CELL, "observed_at": START, "value": 5}),
    "in_unit": (
        Observation.in_unit, {"metric": 1, "cell": CELL, "observed_at": START, "value": 5.0},
    ),
    "Report": (Report, {"device": DEVICE, "sequence": 1, "packed": SIGNED.report.packed}),
    "Report.of": (Report.of, {"device": DEVICE, "sequence": 1, "observations": []}),
    "SignedReport": (SignedReport, {"report": SIGNED.report, "signature": bytes(64)}),
    "Question": (Question, WINDOW | {"cell": CELL}),
    "ReadingsQuestion": (ReadingsQuestion, WINDOW),
    "cell_of": (cell_of, {"latitude": 1, "longitude": 2, "resolution": 7}),
    "cells_in": (cells_in, {"area": (40, -75, 40.5, -74), "resolution": 5}),
    "metric": (metric, {"key": 1}),
    "to_wire": (METRICS[0].to_wire, {"value": 1.0}),
    "Secp256k1Key": (Secp256k1Key, {"secret": KEY.secret}),
    "P256Key": (P256Key, {"secret": KEY.secret}),
    "account_from_key": (account_from_key, {"secret": KEY.secret}),
    "load_deployment": (load_deployment, {"path": "none.json"}),
    "check_webhook": (
        check_webhook, {"secret": bytes(16), "signature": "", "body": b"", "tolerance_s": 1.0},
    ),
}  # fmt: skip
EXAMPLES = 50
"""Of a function; there are ninety, of two parameters in the mean."""
NOT_OF_VALUES = {"run", "close", "node", "web3", "contracts", "chain"}
"""Public names that take no value of a user's."""


def functions_of(kind):
    return {
        name
        for name in dir(kind)
        if not name.startswith("_") and inspect.isroutine(inspect.getattr_static(kind, name))
    } | {
        name
        for name in dir(kind)
        if isinstance(inspect.getattr_static(kind, name), staticmethod) and name[0] != "_"
    }


def test_every_public_function_is_in_the_tables():
    assert functions_of(Client) - NOT_OF_VALUES == CLIENT.keys()
    assert functions_of(AsyncClient) - NOT_OF_VALUES == CLIENT.keys()
    assert functions_of(Chain) - NOT_OF_VALUES == CHAIN.keys()
    assert {"Observation", "Report", "SignedReport", "Secp256k1Key"} <= set(corechain.__all__)
    for table, kind in ((CLIENT, Client), (CHAIN, Chain)):
        for name, good in table.items():
            assert set(good) <= set(inspect.signature(getattr(kind, name)).parameters)


@pytest.fixture(scope="module")
def url():
    """A server that knows nothing: what matters is that odd values do not come so far."""
    with answers(Script(404, b'{"type":"urn:corechain:error:NotFound"}')) as running:
        yield running


@pytest.fixture(scope="module")
def client(url, deployment):
    with Client(url, url, url, deployment, ADMIN) as made:
        yield made


def called(function, good, name, odd):
    values = good | {name: odd}
    arguments = values.pop("arguments", None)
    if "arguments" in good:
        return function(*values.values(), arguments)
    return function(**values)


@pytest.mark.parametrize("name", [name for name, good in CLIENT.items() if good])
@settings(deadline=None, max_examples=EXAMPLES)
@given(data=st.data())
def test_any_value_given_to_a_client_is_taken_or_refused_by_type(client, name, data):
    good = CLIENT[name]
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)
    with suppress(CoreChainError):
        called(getattr(client, name), good, parameter, odd)


@pytest.mark.parametrize(
    "name", ["readings", "statistics", "open_channel", "send_reports", "latest"]
)
@settings(deadline=None)
@given(data=st.data())
def test_any_value_given_to_an_async_client_is_too(url, client, name, data):
    good = CLIENT[name]
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)

    async def ask():
        other = AsyncClient(url, url, url, client.deployment, ADMIN)
        with suppress(CoreChainError):
            await called(getattr(other, name), good, parameter, odd)

    asyncio.run(ask())


@pytest.mark.parametrize("name", [name for name, good in CHAIN.items() if good])
@settings(deadline=None, max_examples=EXAMPLES)
@given(data=st.data())
def test_any_value_given_to_the_chain_is_taken_or_refused_by_type(client, name, data):
    good = CHAIN[name]
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)
    with suppress(CoreChainError):
        called(getattr(client.chain, name), good, parameter, odd)


@pytest.mark.parametrize("name", MADE)
@settings(deadline=None)
@given(data=st.data())
def test_any_value_given_to_a_constructor_is_taken_or_refused_by_type(name, data):
    made, good = MADE[name]
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)
    with suppress(CoreChainError):
        made(**(good | {parameter: odd}))


@settings(deadline=None)
@given(data=st.data())
def test_any_value_given_to_make_a_client_is_taken_or_refused_by_type(url, client, data):
    good = {
        "api_url": url,
        "gateway_url": url,
        "rpc_url": url,
        "deployment": client.deployment,
        "account": ADMIN,
        "verify": True,
        "channel": None,
        "max_price": None,
        "api_key": "cck_1",
    }
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)
    with suppress(CoreChainError):
        Client(**(good | {parameter: odd})).status()


@pytest.mark.parametrize("parameter", ["api_url", "gateway_url", "rpc_url"])
def test_a_url_that_is_none_is_named(url, deployment, parameter):
    good = {"api_url": url, "gateway_url": url, "rpc_url": url, "deployment": deployment}
    for wrong in ("", "localhost:8545", "ws://x", "http://", None, "http://a b", 5, "http://[::1"):
        with pytest.raises(InvalidValue, match=f"{parameter}: takes a URL"):
            Client(**(good | {parameter: wrong}))


@pytest.mark.parametrize("path", [None, 5, b"x", "", "\0"])
def test_what_is_no_path_is_named(path, client):
    kept = KeptReceipt(RECEIPT, SIGNED)
    history = client.history(device=DEVICE)
    files = load_deployment, KeptReceipt.load, kept.save, history.to_csv, history.to_parquet
    for function in files:
        with pytest.raises(InvalidValue, match="path: takes the path"):
            function(path)


CONTRACTS = {
    name: {"address": HEX, "block": 1}
    for name in ("DeviceRegistry", "DataBatches", "CoreToken", "PaymentChannels", "StateChannels")
}
ODD_NUMBERS = [0, -1, 1.5, True, None, math.inf, math.nan, "31337", 2**300]


def test_a_manifest_that_is_none_is_refused(tmp_path):
    path = tmp_path / "1.json"
    odd = [{"chain_id": number, "contracts": CONTRACTS} for number in ODD_NUMBERS]
    for number in (0, -1, 1.5, True, None, math.inf, "1"):
        other = CONTRACTS | {"CoreToken": {"address": HEX, "block": number}}
        odd.append({"chain_id": 1, "contracts": other})
    for text in ("[" * 100_000, "\x00", *map(json.dumps, odd)):
        path.write_text(text)
        with pytest.raises(InvalidDeployment, match=r"cannot be read|not a manifest"):
            load_deployment(path)
    path.write_text(json.dumps({"chain_id": 1, "contracts": CONTRACTS}))
    assert load_deployment(path).chain_id == 1


def test_what_the_api_answers_is_taken_back(client):
    """A reading's row, as JSON gives it, asks the next question."""
    row = {"device": HEX, "metric": 1, "cell": f"{CELL:015x}", "observed_at": START}
    question = client.question(row["metric"], row["device"], row["cell"], START, row["observed_at"])
    assert question == Question(metric(1), DEVICE, CELL, START, START)
    assert Reading(1, CELL, DEVICE, START, 5).device == question.device
