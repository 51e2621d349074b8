"""The chain behind the SDK: typed errors by the contract's own names, on a real node."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from web3 import Web3

from corechain import held_channels, transactions
from corechain.account import account_from_key
from corechain.chain import Chain, ChainUnavailable, Reverted
from corechain.client import Client
from corechain.deployment import Deployment, InvalidDeployment, load_deployment
from corechain.devnet.process import free_port
from corechain.devnet.settings import ADMIN_KEY, SUBMITTER_KEY
from corechain.held_channels import end_withdrawal, held_channel, start_withdrawal
from corechain.node import Node
from corechain.payments import channel_to
from corechain.protocol.errors import (
    InvalidSignature,
    InvalidValue,
    UnknownBatch,
    UnknownDevice,
    WrongChain,
)
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType, P256Key, Secp256k1Key


@pytest.fixture
def chain(anvil, deployment, chain_state):
    return Chain(anvil, load_deployment(deployment))


@pytest.fixture
def client(anvil, deployment, chain_state):
    account = account_from_key(ADMIN_KEY)
    return Client("http://127.0.0.1:9", "http://127.0.0.1:9", anvil, deployment, account)


def test_an_unknown_batch_is_unknown_by_name(chain):
    with pytest.raises(UnknownBatch) as caught:
        chain.commitment_of(77)
    assert caught.value.batch_id == 77


def test_a_committed_batch_is_found(chain):
    commitment = bytes(range(26))
    chain.send(account_from_key(SUBMITTER_KEY), "DataBatches", "commit", 1, commitment)
    assert chain.commitment_of(1) == commitment
    assert chain.committed_batches() == [commitment]


def test_clients_of_one_account_take_nonces_one_after_the_other(anvil, deployment, chain_state):
    """Each has locks of its own, as two processes have."""
    account, contracts = account_from_key(ADMIN_KEY), load_deployment(deployment)

    def sent(_):
        chain = Chain(anvil, contracts)
        words = "CoreToken", "approve", bytes(19) + b"\1", 1
        return [chain.send(account, *words)["status"] for _ in range(3)]

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(sent, range(3))) == [[1] * 3] * 3


def test_who_sends_on_one_chain_keeps_nobody_from_another(anvil, deployment, monkeypatch):
    """As a command whose node hangs would, for a minute."""
    account, taken = account_from_key(ADMIN_KEY), []

    def turn(name):
        taken.append(name)
        raise InterruptedError

    monkeypatch.setattr(transactions, "process_turn", turn)
    for chain_id in (1, 2, 1):
        monkeypatch.setattr(Node, "chain_id", lambda node, chain_id=chain_id: chain_id)
        with pytest.raises(InterruptedError):
            transactions.Sender(Node(anvil)).send(account, bytes(20), b"")
    assert taken[0] == taken[2] != taken[1]


def test_a_contract_error_without_a_class_keeps_its_name_and_values(chain):
    stranger = account_from_key(ADMIN_KEY)
    with pytest.raises(Reverted) as caught:
        chain.send(stranger, "DataBatches", "commit", 1, bytes(range(26)))
    assert caught.value.error == "NotSubmitter"
    assert caught.value.values == (0, bytes.fromhex(stranger.address[2:]))


@pytest.mark.parametrize("key", [Secp256k1Key(bytes(31) + b"\x51"), P256Key(bytes(31) + b"\x52")])
def test_a_device_is_registered_by_its_own_signature(client, key):
    client.register_device(key)
    shown = key.identity.public_key if key.identity.key_type is KeyType.P256 else None
    assert client.chain.public_key_of(key.identity.device) == shown
    owner, key_type, registered_at, revoked_at = client.chain.call(
        "DeviceRegistry", "deviceOf", Web3.to_checksum_address(key.identity.device)
    )
    assert (owner, key_type) == (client.account.address, key.identity.key_type)
    assert registered_at > 0
    assert revoked_at == 0


def test_a_device_of_a_fleet_is_known_before_it_has_a_slot(chain):
    admin = account_from_key(ADMIN_KEY)
    keys = [Secp256k1Key(bytes(31) + bytes([n])) for n in range(0x60, 0x66)]
    owner = b"\x07" * 20
    fleet = Fleet.of(owner, KeyType.SECP256K1, [key.identity.device for key in keys])
    with pytest.raises(Reverted) as caught:
        chain.enrol_fleet(admin, fleet)
    assert caught.value.error == "NotEnroller"
    with pytest.raises(UnknownDevice):
        chain.owner_and_key_type(fleet.devices[2])
    chain.send(admin, "DeviceRegistry", "setEnroller", admin.address, True)
    chain.enrol_fleet(admin, fleet)
    assert chain.owner_and_key_type(fleet.devices[2]) == (owner, 1)
    chain.materialise(admin, fleet, fleet.devices[2])
    found, _, _, revoked_at = chain.call("DeviceRegistry", "deviceOf", fleet.devices[2])
    assert bytes.fromhex(found[2:]) == owner
    assert revoked_at == 0
    with pytest.raises(Reverted) as caught:
        chain.materialise(admin, fleet, fleet.devices[2])
    assert str(caught.value).endswith(f"AlreadyRegistered(0x{fleet.devices[2].hex()})")
    secure = P256Key(bytes(31) + b"\x67").identity
    assert chain.public_key_of(secure.device) is None
    chain.publish_keys(admin, [P256Key(bytes(31) + b"\x68").identity.public_key, secure.public_key])
    assert chain.public_key_of(secure.device) == secure.public_key


def test_a_device_that_did_not_consent_is_refused_by_name(client):
    key, other = Secp256k1Key(bytes(31) + b"\x53"), Secp256k1Key(bytes(31) + b"\x54")
    account, owner = client.account, bytes.fromhex(client.account.address[2:])
    with pytest.raises(InvalidSignature):
        client.chain.register_device(account, key.identity, owner, other.sign(bytes(32)))


def test_a_channel_is_opened_and_left(client, monkeypatch):
    contracts, account = client.contracts, client.account
    channel = channel_to(
        bytes(19) + b"\x99",
        Secp256k1Key(bytes(account.key)),
        token=contracts.address("CoreToken"),
        chain_id=contracts.chain_id,
        payment_channels=contracts.address("PaymentChannels"),
        withdraw_delay_s=900,
        salt=bytes(32),
    )
    client.chain.open_channel(account, channel.config, 10**18)
    assert client.chain.channel_balance(channel.channel_id) == (10**18, 0)
    assert client.chain.channel_balances([channel.channel_id, bytes(32)]) == [(10**18, 0), (0, 0)]
    before = held_channel(client.chain, channel.channel_id, channel.config)
    with pytest.raises(Reverted, match="InvalidChannel"):
        start_withdrawal(client.chain, account_from_key(SUBMITTER_KEY), before)
    started = twice(partial(start_withdrawal, client.chain, account, before), monkeypatch)
    assert (started.withdrawing, started.withdrawable_at) == (10**18, client.chain.time() + 900)
    with pytest.raises(Reverted, match="WithdrawDelayNotElapsed"):
        end_withdrawal(client.chain, account, started)
    client.chain.node.call("evm_increaseTime", 901)
    ended = twice(partial(end_withdrawal, client.chain, account, started), monkeypatch)
    assert (ended.left, ended.withdrawing, ended.withdrawable_at) == (0, 0, None)


def twice(leave, monkeypatch):
    """First with a node that answers no question behind the transaction; then again, by somebody
    who has not heard that it was mined."""
    with monkeypatch.context() as patched:
        patched.setattr(held_channels, "held_channel", lambda *_: pytest.fail("not asked"))
        first = leave()
    assert leave() == first
    return first


def test_an_account_is_needed_to_pay(anvil, deployment):
    reader = Client("http://x", "http://x", anvil, deployment)
    with pytest.raises(InvalidValue, match="account"):
        reader.register_device(Secp256k1Key(bytes(31) + b"\x55"))


def test_a_node_of_another_chain_is_refused(anvil, deployment):
    known = load_deployment(deployment)
    with pytest.raises(WrongChain):
        Chain(anvil, Deployment(1, known.contracts)).commitment_of(1)


def test_a_dead_node_is_unavailable(deployment):
    with pytest.raises(ChainUnavailable):
        Chain(f"http://127.0.0.1:{free_port()}", load_deployment(deployment)).commitment_of(1)


def _manifest_with_block(block: str) -> str:
    entry = f'{{"address": "0x{"12" * 20}", "block": {block}}}'
    return f'{{"chain_id": 1, "contracts": {{"CoreToken": {entry}}}}}'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "cannot be read"),
        ("[]", "not a manifest"),
        ("{}", "not a manifest"),
        ('{"chain_id": 1, "contracts": {}}', "lacks DeviceRegistry"),
        ('{"chain_id": 1, "contracts": {"CoreToken": {"address": "0x12", "block": 1}}}', "not a"),
        (_manifest_with_block("0"), "block of CoreToken is unknown"),
        (_manifest_with_block("null"), "block of CoreToken is unknown"),
        (_manifest_with_block("-3"), "block of CoreToken is unknown"),
    ],
)
def test_a_manifest_that_is_none_says_what_to_do(tmp_path, content, why):
    path = tmp_path / "1.json"
    path.write_text(content)
    with pytest.raises(InvalidDeployment, match=why) as caught:
        load_deployment(path)
    assert "ape run deploy" in str(caught.value)
    with pytest.raises(InvalidDeployment, match="cannot be read"):
        load_deployment(tmp_path / "none.json")


def test_the_manifest_of_the_deployment_script_is_read(deployment):
    loaded = load_deployment(deployment)
    document = json.loads(deployment.read_text())
    assert loaded.chain_id == document["chain_id"]
    assert loaded.first_block == min(c["block"] for c in document["contracts"].values())
