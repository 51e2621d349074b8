"""A party that sleeps is protected by the state it left with the watchtower.

given an open channel
  when the other party challenges with an old state
    it is answered with the newest stored one before the deadline
    and evidence that comes after the challenge still counts
  when evidence is not signed by both, for no open channel, or older
    it is refused by name, or not stored; what a newer block may allow is looked up before
"""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from support.asking import HTTP

from corechain.devnet.servers import AnvilServer
from corechain.protocol.hashing import keccak
from corechain_relayer.watchtower.channels import Evidence, respond_call
from relayer.channels import DEPOSIT, OpenChannel
from relayer.conftest import Start
from relayer.support import WATCHTOWER_KEY, Chain, RelayerProcess, eventually, secp
from relayer.test_outage import frozen


def post(relayer: RelayerProcess, evidence: Evidence, **changes: Any) -> httpx.Response:
    document = {
        "channel_id": "0x" + evidence.state.channel_id.hex(),
        "version": evidence.state.version,
        "balance_a": str(evidence.state.balance_a),
        "signature_a": "0x" + evidence.signature_a.hex(),
        "signature_b": "0x" + evidence.signature_b.hex(),
    }
    return HTTP.post(f"{relayer.url}/v1/channel-states", json=document | changes)


def deposit(relayer: RelayerProcess, evidence: Evidence, **changes: Any) -> httpx.Response:
    def answered() -> httpx.Response | None:
        """the tower has its database and its view of the chain: before, it says 503"""
        answer = post(relayer, evidence, **changes)
        return None if answer.status_code == 503 else answer

    response: httpx.Response = eventually(answered)
    return response


def held(relayer: RelayerProcess, channel_id: bytes) -> httpx.Response:
    return HTTP.get(f"{relayer.url}/v1/channel-states/0x{channel_id.hex()}")


@pytest.fixture
def tower(start: Start) -> RelayerProcess:
    return start("watchtower", RELAYER_WATCHTOWER_KEY=WATCHTOWER_KEY)


@pytest.fixture
def channel(chain: Chain) -> OpenChannel:
    return OpenChannel(chain, secp(11), secp(12)).open()


def answered(channel: OpenChannel, version: int) -> None:
    eventually(lambda: channel.version() == version)


def test_a_stale_challenge_is_answered_with_the_newest_state(
    tower: RelayerProcess, channel: OpenChannel, chain: Chain
) -> None:
    assert deposit(tower, channel.signed(4, 500)).status_code == 201
    assert deposit(tower, channel.signed(7, 100)).status_code == 201
    channel.challenge(channel.signed(2, 1000))
    answered(channel, 7)


def test_evidence_that_comes_after_the_challenge_still_counts(
    tower: RelayerProcess, channel: OpenChannel
) -> None:
    channel.challenge(channel.signed(2, 1000))
    assert deposit(tower, channel.signed(3, 900)).status_code == 201
    answered(channel, 3)


def test_a_tower_that_was_down_during_the_challenge_answers_when_it_is_back(
    start: Start, channel: OpenChannel
) -> None:
    settings = {"RELAYER_WATCHTOWER_KEY": WATCHTOWER_KEY}
    first = start("watchtower", **settings)
    assert deposit(first, channel.signed(9, 10)).status_code == 201
    first.kill()
    channel.challenge(channel.signed(1, 1000))
    start("watchtower", **settings)
    answered(channel, 9)


def test_two_channels_are_answered_though_one_cannot_be(
    tower: RelayerProcess, channel: OpenChannel, chain: Chain
) -> None:
    brief = OpenChannel(chain, secp(13), secp(14), period_s=1, salt=b"\1" * 5).open()
    assert deposit(tower, channel.signed(5, 1)).status_code == 201
    brief.challenge(brief.signed(1, 1))
    chain.rpc("evm_increaseTime", 10)
    chain.rpc("evm_mine")
    assert deposit(tower, brief.signed(5, 1)).status_code == 201  # too late for this one
    channel.challenge(channel.signed(1, 1000))
    answered(channel, 5)
    assert brief.version() == 1


def test_fees_rise_with_the_deadline_of_a_challenge(
    start: Start, channel: OpenChannel, chain: Chain
) -> None:
    """The cap of batches is too low for this chain; that of answers counts from half time on."""
    low = {"RELAYER_MAX_FEE_PER_GAS": "1", "RELAYER_REFUSED_PAUSE_S": "0.2"}
    tower = start("watchtower", RELAYER_WATCHTOWER_KEY=WATCHTOWER_KEY, **low)
    assert deposit(tower, channel.signed(7, 100)).status_code == 201
    channel.challenge(channel.signed(2, 1000))
    eventually(lambda: "corechain_watchtower_stale_closes 1.0" in tower.get("/metrics").text)
    assert channel.version() == 2
    chain.rpc("evm_increaseTime", channel.period_s * 6 // 10)
    chain.rpc("evm_mine")
    answered(channel, 7)
    eventually(lambda: "corechain_watchtower_stale_closes 0.0" in tower.get("/metrics").text)


def test_bad_evidence_is_refused_by_name(
    tower: RelayerProcess, channel: OpenChannel, chain: Chain
) -> None:
    good = channel.signed(5, 500)
    swapped = Evidence(good.state, good.signature_b, good.signature_a)
    stranger = OpenChannel(chain, secp(21), secp(22), salt=b"\2" * 5).signed(1, 1)
    too_much = channel.signed(6, DEPOSIT + 1)
    other_chain = replace(chain, deployment=replace(chain.deployment, chain_id=1))
    elsewhere, good_id = replace(channel, chain=other_chain), good.state.channel_id.hex()
    refusals = {
        "swapped": deposit(tower, swapped),
        "stranger": deposit(tower, stranger),
        "too much": deposit(tower, too_much),
        "version 0": deposit(tower, channel.signed(0, 1)),
        "of a closed channel": deposit(tower, channel.signed(2**40 - 1, 1)),
        "no version": deposit(tower, good, version=2**70),
        "another chain": deposit(tower, elsewhere.signed(5, 500), channel_id="0x" + good_id),
        "extra": deposit(tower, good, extra=1),
        "not hex": deposit(tower, good, channel_id="0x12"),
        "negative": deposit(tower, good, balance_a="-1"),
        "text": HTTP.post(f"{tower.url}/v1/channel-states", content=b"hello"),
    }
    names = {case: answer.json()["type"].rpartition(":")[2] for case, answer in refusals.items()}
    assert names == {
        "swapped": "InvalidSignature",
        "stranger": "UnknownChannel",
        "too much": "ValueOutOfRange",
        "version 0": "ValueOutOfRange",
        "of a closed channel": "ValueOutOfRange",
        "no version": "ValueOutOfRange",
        "another chain": "InvalidSignature",
        "extra": "MalformedReport",
        "not hex": "MalformedReport",
        "negative": "MalformedReport",
        "text": "UnsupportedMediaType",
    }
    assert deposit(tower, good).json() == {"stored": True}
    assert deposit(tower, channel.signed(4, 500)).json() == {"stored": False}
    assert held(tower, channel.id).json() == {"version": 5}
    assert held(tower, bytes(32)).status_code == 404
    assert held(tower, b"short").status_code == 400


def test_a_channel_that_cannot_be_looked_up_is_not_called_unknown(
    start: Start, chain: Chain, channel: OpenChannel, anvil_server: AnvilServer
) -> None:
    """And a state of a top-up is not refused because the tower has not looked since."""
    seldom = {"RELAYER_RPC_TIMEOUT_S": "2", "RELAYER_POLL_S": "60"}
    tower = start("watchtower", RELAYER_WATCHTOWER_KEY=WATCHTOWER_KEY, **seldom)
    assert deposit(tower, channel.signed(1, DEPOSIT)).json() == {"stored": True}
    channel.top_up()
    assert deposit(tower, channel.signed(2, DEPOSIT + 1)).json() == {"stored": True}
    nobodys = OpenChannel(chain, secp(11), secp(12), salt=b"\3" * 5).signed(1, 1)
    with frozen(anvil_server):
        answer = post(tower, nobodys)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "Unavailable")
    assert deposit(tower, nobodys).status_code == 404


def test_without_a_key_there_is_no_watchtower(start: Start) -> None:
    relayer = start("watchtower")
    assert any("no watchtower" in entry["event"] for entry in relayer.events())
    assert HTTP.post(f"{relayer.url}/v1/channel-states", json={}).status_code == 404


def test_the_answer_is_the_packed_twin_of_the_call_in_the_abi(chain: Chain) -> None:
    channel = OpenChannel(chain, secp(11), secp(12))
    evidence = channel.signed(3, 7)
    signatures = evidence.signature_a + evidence.signature_b
    state = (3).to_bytes(5, "big") + (7).to_bytes(11, "big")
    a, b, token, period, until, salt = channel.values
    terms = a + b + token + period.to_bytes(4, "big") + until.to_bytes(5, "big") + salt
    whole_terms = b"\0" + terms  # no party's address is left out: the sender is neither
    expected = keccak(b"respondBrief()")[:4] + whole_terms + state + signatures
    assert respond_call(channel.terms, evidence) == expected
