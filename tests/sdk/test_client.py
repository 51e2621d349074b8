"""Both clients against the whole network: the same flows, the same answers, the same errors."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from support.command import COMMAND, corechain, environment
from support.odd_http import Odd, OddProxy
from support.processes import PATIENCE_S, eventually
from support.readings import CELL, HOUR_S, NOON, temperatures
from typer.testing import CliRunner

from corechain import AsyncClient, Client, account_from_key
from corechain.cli import app, load_plugins
from corechain.devnet.network import Network
from corechain.devnet.process import free_port
from corechain.devnet.servers import rpc
from corechain.devnet.settings import ADMIN_KEY, PAYEE_KEY, Ports
from corechain.payments import PAYMENT_REQUIRED, decode_header, encode_header, parse_price
from corechain.protocol.errors import (
    NotFound,
    PaymentRequired,
    UnknownDevice,
    UnknownMetric,
)
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.rewards import Owner
from corechain.steps import ApiUnavailable, Refused, error_of_problem

KEY, SECURE = Secp256k1Key(bytes(31) + b"\x61"), P256Key(bytes(31) + b"\x62")
PRICE = 10**15
LAST = NOON + 23 * HOUR_S
VALUES = [float(hour) for hour in range(12)] + [11.0 - hour / 2 for hour in range(12)]


@pytest.fixture(scope="module")
def network(deployed_home, tmp_path_factory):
    home = shutil.copytree(deployed_home, tmp_path_factory.mktemp("network") / "home")
    settings = {"RELAYER_MAX_AGE_S": "0.5"}
    with Network(home, ports=Ports.free(), settings=settings, price=PRICE) as running:
        yield running


def arguments(network):
    urls = network.urls
    return urls.indexer, urls.relayer, urls.anvil, network.deployment, account_from_key(ADMIN_KEY)


@pytest.fixture(scope="module")
def client(network):
    with Client(*arguments(network)) as made:
        for key in (KEY, SECURE):
            made.register_device(key)
            made.send_reports([made.sign_report(key, 1, temperatures(VALUES))])
        assert eventually(lambda: made.status()["readings"] == 2 * len(VALUES))
        made.open_channel(bytes.fromhex(account_from_key(PAYEE_KEY).address[2:]), 100 * PRICE)
        yield made


def mean():
    return sum(VALUES) / len(VALUES)


def test_statistics_are_proven(client):
    found = client.statistics("air_temperature", KEY.identity.device, CELL, NOON, LAST)
    assert found.count == 24
    assert found.mean == pytest.approx(mean())
    assert (found.min, found.max) == (0.0, 11.0)


def test_an_empty_answer_has_no_mean(client):
    found = client.statistics("pressure", KEY.identity.device, CELL, NOON, LAST)
    assert (found.count, found.mean, found.min, found.max) == (0, None, None, None)


def test_readings_are_proven_one_by_one(client):
    found = client.readings(metric="air_temperature", device=SECURE.identity.device, limit=5)
    assert [item.reading.value for item in found] == [0, 100, 200, 300, 400]
    again = client.reading(found[0].batch_id, found[0].position)
    assert again == found[0].reading


def test_both_clients_say_the_same(network, client):
    async def ask():
        async with AsyncClient(*arguments(network)) as other:
            other.channel = client.channel
            device = KEY.identity.device
            return (
                await other.statistics("air_temperature", device, CELL, NOON, LAST),
                await other.readings(device=device, limit=3),
                await other.latest(device),
                await other.batches(),
                await other.devices(),
                await other.next_sequence(device),
            )

    statistics, readings, latest, batches, devices, sequence = asyncio.run(ask())
    device = KEY.identity.device
    expected = client.statistics("air_temperature", device, CELL, NOON, LAST)
    assert statistics.statistics == expected.statistics
    assert readings == client.readings(device=device, limit=3)
    assert latest == client.latest(device)
    assert batches == client.batches()
    assert devices == client.devices()
    assert sequence == client.next_sequence(device) == 2


def test_the_newest_value_is_at_hand(client):
    (newest,) = client.latest(KEY.identity.device)["items"]
    assert newest["observed_at"] == LAST
    assert newest["value"] == 550


def test_without_a_channel_a_paid_query_is_refused_by_name(network):
    with Client(*arguments(network)) as poor, pytest.raises(PaymentRequired):
        poor.statistics("air_temperature", KEY.identity.device, CELL, NOON, LAST)


def test_an_empty_channel_does_not_pay(network, client):
    channel = client.channel
    before = channel.spent
    channel.spent = channel.deposit
    try:
        with pytest.raises(PaymentRequired, match="holds"):
            client.readings(device=KEY.identity.device, limit=1)
    finally:
        channel.spent = before


def test_a_payer_that_lost_count_goes_on_where_the_payee_is(client):
    channel = client.channel
    client.readings(device=KEY.identity.device, limit=1)
    before = channel.spent
    channel.spent = 0
    client.readings(device=KEY.identity.device, limit=1)
    assert channel.spent > before
    assert channel.lost == 0


def test_problems_arrive_as_the_errors_of_their_name(client):
    with pytest.raises(UnknownDevice):
        client.next_sequence(bytes(20))
    with pytest.raises(UnknownMetric):
        client.statistics("phlogiston", bytes(20), CELL, 0, 1)
    with pytest.raises(NotFound):
        client.reward_claim(Owner(bytes(20)))
    assert not client.rewards_claimable(Owner(bytes(20)))


def test_a_server_that_is_not_there_is_unavailable(network):
    _, _, rpc, deployment, account = arguments(network)
    nowhere = f"http://127.0.0.1:{free_port()}"
    with Client(nowhere, nowhere, rpc, deployment, account) as lost, pytest.raises(ApiUnavailable):
        lost.status()

    async def ask():
        async with AsyncClient(nowhere, nowhere, rpc, deployment) as other:
            await other.status()

    with pytest.raises(ApiUnavailable):
        asyncio.run(ask())


def test_a_server_that_is_none_of_ours_is_unavailable(network):
    """The node answers HTTP, but neither JSON of ours nor a problem document."""
    _, _, rpc, deployment, account = arguments(network)
    with Client(rpc, rpc, rpc, deployment, account) as lost, pytest.raises(ApiUnavailable):
        lost.status()


def test_a_problem_without_a_known_name_keeps_its_words():
    error = error_of_problem(418, {"type": "urn:corechain:error:Teapot", "detail": "short"})
    assert isinstance(error, Refused)
    assert (error.problem, error.detail) == ("Teapot", "short")


@pytest.mark.parametrize("header", ["", "%%%", encode_header({"accepts": []}), "W10="])
def test_a_402_that_offers_nothing_for_us_is_refused(header):
    with pytest.raises(PaymentRequired):
        parse_price({PAYMENT_REQUIRED.lower(): header}, 31337)


def test_a_header_comes_back_as_it_was():
    assert decode_header(encode_header({"a": 1})) == {"a": 1}


def answered(network, *words):
    """What a command printed, as JSON."""
    return json.loads(commanded(network, *words))


def commanded(network, *words):
    """What a command printed for programs."""
    urls = network.urls
    places = {
        "CORECHAIN_API_URL": urls.indexer,
        "CORECHAIN_GATEWAY_URL": urls.relayer,
        "CORECHAIN_RPC_URL": urls.anvil,
        "CORECHAIN_DEPLOYMENT": str(network.manifest),
        "CORECHAIN_KEY": ADMIN_KEY,
    }
    load_plugins()
    done = CliRunner(env=places).invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


def test_a_device_is_made_registered_and_heard_by_three_commands(network, client, tmp_path):
    file = tmp_path / "device.key"
    load_plugins()
    missing = CliRunner().invoke(app, ["device", "id", str(file)])
    assert missing.exit_code == 2
    assert "for FILE" in missing.output
    made = answered(network, "device", "new", file, "--curve", "p256")
    assert file.stat().st_mode & 0o777 == 0o600
    assert answered(network, "device", "id", file)["device"] == made["device"]
    registered = answered(network, "device", "register", file)
    assert registered["block"] > 0
    place = ("--cell", "40.69,-74.17", "--at", "2013-02-01T12:00:00Z", "--patience", "60")
    sent = answered(network, "device", "send", file, "air_temperature=3.5", *place)
    assert (sent["accepted"], sent["sequence"], sent["refused_as"]) == (True, 0, None)
    device = made["device"]
    assert eventually(lambda: client.latest(device)["items"])
    window = ("--start", NOON, "--end", "2013-02-01T13:00:00+00:00", "--deposit", 9 * PRICE)
    words = ("--device", device, "--cell", "40.69,-74.17", *window)
    proven = answered(network, "query", "statistics", "air_temperature", *words)
    assert (proven["count"], proven["mean"], proven["unit"]) == (1, 3.5, "Cel")
    assert any(row["device"] == device for row in answered(network, "query", "devices"))
    assert answered(network, "query", "device", device)["revoked"] is False
    stations = answered(network, "query", "stations", "air_temperature", "--deposit", 9 * PRICE)
    (station,) = (row for row in stations if row["device"] == device)
    assert (station["value"], station["unit"]) == (3.5, "Cel")
    assert station["observed_at"] == "2013-02-01T12:00:00Z"
    asked = "query", "series", "air_temperature", "--device", device, "--deposit", 9 * PRICE
    (bucket,) = answered(network, *asked)
    assert (bucket["start"], bucket["mean"]) == ("2013-02-01T12:00:00Z", 3.5)
    newest, *_ = answered(network, "query", "batches", "--newest", "--limit", 1)
    assert newest["batch_id"] == station["batch_id"]
    channels = answered(network, "query", "channels")
    assert account_from_key(ADMIN_KEY).address.lower() in {row["payer"] for row in channels}
    assert answered(network, "query", "state-channels") == []
    assert isinstance(answered(network, "query", "epochs"), list)


def test_a_channel_of_an_earlier_run_pays_and_is_filled_again(network, client):
    """Each process of the account finds the channel that holds most."""
    with Client(*arguments(network)) as first:
        small = first.pay_with(2 * PRICE, most=5 * PRICE)
        assert small.deposit >= 2 * PRICE
        assert {held.channel_id for held in first.channels()} >= {small.channel_id}
    with Client(*arguments(network)) as other:
        assert other.pay_with(2 * PRICE).channel_id == small.channel_id


PAYER = """
import json, sys
from corechain import Client, account_from_key
*places, key, device, price = sys.argv[1:]
price = int(price)
with Client(*places, account_from_key(key)) as client:
    client.status()
    print("ready", flush=True)
    sys.stdin.readline()
    channel = client.pay_with(2 * price, most=12 * price)
    for _ in range(5):
        client.latest(device)
    print(json.dumps([channel.channel_id.hex(), channel.spent, channel.lost]))
"""


def test_processes_of_one_account_open_one_channel_and_fill_it_once(network, client):
    secret = bytes(31) + b"\x63"
    payer = account_from_key(secret)
    rpc(network.urls.anvil, "anvil_setBalance", payer.address, hex(10**18))
    admin, holds = account_from_key(ADMIN_KEY), 100 * PRICE
    client.chain.send(admin, "CoreToken", "transfer", payer.address, holds)
    urls = network.urls.indexer, network.urls.relayer, network.urls.anvil, str(network.manifest)
    words = secret.hex(), KEY.identity.device.hex(), str(PRICE)
    command = [sys.executable, "-c", PAYER, *urls, *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in running] == ["ready\n"] * 2
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in running]
    assert len({channel for channel, _, _ in said}) == 1
    assert max(spent for _, spent, _ in said) == 10 * PRICE
    assert [lost for _, _, lost in said] == [0, 0]
    channel_id = bytes.fromhex(said[0][0])
    assert client.chain.channel_balance(channel_id) == (10 * PRICE, 0)
    assert client.chain.balance_of(payer.address) == holds - 10 * PRICE


def test_a_history_is_paid_page_by_page(network, client):
    device = KEY.identity.device
    client.latest(device)  # follows what commands of the same account have paid from the channel
    spent = client.channel.spent
    found = list(client.history(device=device, metric="air_temperature"))
    assert (len(found), client.channel.spent - spent) == (len(VALUES), PRICE)
    words = "history", "--device", f"0x{device.hex()}", "--end", LAST, "--limit", 0
    done = commanded(network, *words, "--deposit", 9 * PRICE)
    rows = [json.loads(line) for line in done.splitlines()]
    assert [row["quantity"] for row in rows] == VALUES
    places = {"CORECHAIN_API_URL": network.urls.indexer, "CORECHAIN_RPC_URL": network.urls.anvil}
    manifest = "--deployment", network.manifest
    unpaid = corechain("history", "--device", f"0x{device.hex()}", *manifest, changes=places)
    assert (unpaid.returncode, unpaid.stdout) == (1, "")
    assert "commands pay with --deposit and --key-file" in unpaid.stderr


@contextmanager
def watching(network, *words, **places):
    """`corechain channel watch` in a process of its own; it has ended by itself afterwards."""
    urls = {"api": network.urls.indexer, "rpc": network.urls.anvil, **places}
    changes = {f"CORECHAIN_{name.upper()}_URL": url for name, url in urls.items()}
    changes |= {"CORECHAIN_DEPLOYMENT": str(network.manifest), "CORECHAIN_KEY": ADMIN_KEY}
    command = [*COMMAND, "channel", "watch", *words, "--json", "--pause", "0.2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(changes), **pipes) as process:
        try:
            yield process
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


def test_a_closed_channel_is_watched_until_its_money_is_back(network, client):
    opened = answered(network, "channel", "open", 3 * PRICE)
    (begun,) = answered(network, "channel", "close", opened["channel"])
    assert (begun["left"], begun["withdrawing"]) == (3 * PRICE, 3 * PRICE)
    assert answered(network, "channel", "withdraw", opened["channel"]) == []
    with (
        OddProxy(network.ports.anvil) as node,
        watching(network, opened["channel"], rpc=node.url) as watch,
    ):
        assert json.loads(watch.stdout.readline()) == [begun]
        node.rule = lambda asked: Odd(503)
        assert "again in 0.2 s" in watch.stderr.readline()
        rpc(network.urls.anvil, "evm_increaseTime", 901)
        rpc(network.urls.anvil, "evm_mine")
        node.rule = lambda asked: None
        assert watch.stdout.readlines() == ["[]\n"]
    left = [row["channel"] for row in answered(network, "channel", "list")]
    assert opened["channel"] not in left
    assert client.channel.channel_id.hex() in {channel[2:] for channel in left}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_that_is_stopped_is_no_failure(network, client, number):
    with watching(network) as watch:
        assert json.loads(watch.stdout.readline())
        watch.send_signal(number)
        assert watch.stderr.read() == ""


def test_a_proof_is_printed_as_calldata_that_the_contract_takes(network, client, tmp_path):
    (first, *_) = client.readings(metric="air_temperature", device=SECURE.identity.device, limit=1)
    asked = "prove", "reading", first.batch_id, first.position, "--deposit", 9 * PRICE
    proof = answered(network, *asked)
    call = {"to": proof["to"], "data": proof["calldata"]}
    assert rpc(network.urls.anvil, "eth_call", call, "latest") is not None
    other = call | {"data": proof["calldata"][:74] + "ff" + proof["calldata"][76:]}
    with pytest.raises(ValueError, match="revert"):
        rpc(network.urls.anvil, "eth_call", other, "latest")
    place = "--device", "0x" + SECURE.identity.device.hex(), "--cell", f"{CELL:x}"
    window = "--start", NOON, "--end", LAST, "--deposit", 9 * PRICE, "--out", tmp_path / "answer"
    told = answered(network, "prove", "statistics", "air_temperature", *place, *window)
    assert told["count"] == len(VALUES)
    assert (tmp_path / "answer").read_text().startswith("0x")
