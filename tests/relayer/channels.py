"""Open state channels and stale closes of them, one or a thousand in a block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eth_abi.abi import encode
from support.asking import HTTP
from support.chain import mined_later
from support.processes import PATIENCE_S

from corechain.protocol.channel import ChannelState, StateChannel, state_domain
from corechain.protocol.eip712 import address_word, uint_word
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import DeviceIdentity
from corechain_relayer.watchtower.channels import Evidence
from relayer.support import ADMIN, Chain, secp

# Anvil's account 3: it sends the stale challenge.
ATTACKER = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
DEPOSIT = 1000
OPEN_BEFORE = 2**40 - 1
CHALLENGE = "challenge((address,address,address,uint32,uint40,bytes5),(uint40,uint88,bytes,bytes))"
TERMS, STATE = "(address,address,address,uint32,uint40,bytes5)", "(uint40,uint88,bytes,bytes)"
OPEN = "open((address,address,address,uint32,uint40,bytes5),uint88,uint88)"
BLOCK_GAS = 30_000_000
"""Anvil's block, as Ethereum had it for long."""
ROOM = 2**40
"""Gas of a block that holds whatever is put into it."""
TOP_UP = "topUp((address,address,address,uint32,uint40,bytes5),uint88)"
CALL_GAS = 300_000
ASKED_AT_ONCE = 250


def call(signature: str, types: list[str], values: list[Any]) -> bytes:
    return keccak(signature.encode())[:4] + encode(types, values)


class Party(Protocol):
    """A key that anvil does not hold, or a contract."""

    @property
    def identity(self) -> DeviceIdentity: ...

    def sign(self, digest: bytes) -> bytes: ...


@dataclass
class OpenChannel:
    """A channel between two parties: anyone may carry states that both have signed."""

    chain: Chain
    party_a: Party
    party_b: Party
    period_s: int = 3600
    salt: bytes = bytes(5)

    @property
    def terms(self) -> StateChannel:
        token = self.chain.deployment.address("CoreToken")
        a, b = self.party_a.identity.device, self.party_b.identity.device
        return StateChannel(a, b, token, self.period_s, OPEN_BEFORE, self.salt)

    @property
    def values(self) -> tuple[Any, ...]:
        t = self.terms
        return (t.party_a, t.party_b, t.token, t.challenge_period_s, t.open_before, t.salt)

    @property
    def contract(self) -> bytes:
        return self.chain.deployment.address("StateChannels")

    @property
    def id(self) -> bytes:
        return self.terms.channel_id(self.chain.deployment.chain_id, self.contract)

    def opening(self) -> bytes:
        return call(OPEN, [TERMS, "uint88", "uint88"], [self.values, DEPOSIT, 0])

    def open(self) -> "OpenChannel":
        approve(self.chain, DEPOSIT)
        self.chain.send("StateChannels", self.opening(), ADMIN)
        return self

    def top_up(self) -> None:
        """By one base unit."""
        approve(self.chain, 1)
        self.chain.send("StateChannels", call(TOP_UP, [TERMS, "uint88"], [self.values, 1]), ADMIN)

    def digest(self, version: int, balance_a: int) -> bytes:
        domain = state_domain(self.chain.deployment.chain_id, self.contract)
        return ChannelState(self.id, version, balance_a).digest(domain)

    def signed(self, version: int, balance_a: int) -> Evidence:
        digest = self.digest(version, balance_a)
        signatures = (self.party_a.sign(digest), self.party_b.sign(digest))
        return Evidence(ChannelState(self.id, version, balance_a), *signatures)

    def challenging(self, evidence: Evidence) -> bytes:
        state = evidence.state
        signed = (state.version, state.balance_a, evidence.signature_a, evidence.signature_b)
        return call(CHALLENGE, [TERMS, STATE], [self.values, signed])

    def challenge(self, evidence: Evidence) -> dict[str, Any]:
        return self.chain.send("StateChannels", self.challenging(evidence), ATTACKER)

    def version(self) -> int:
        data = keccak(b"channelOf(bytes32)")[:4] + self.id
        return int(self.chain.call("StateChannels", data)[128:192], 16)


def approve(chain: Chain, amount: int) -> None:
    spender = address_word(chain.deployment.address("StateChannels"))
    chain.send("CoreToken", keccak(b"approve(address,uint256)")[:4] + spender + uint_word(amount))


def asked_at_once(url: str, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
    """Results of many calls, a few hundred in a request."""
    results: list[Any] = []
    for start in range(0, len(calls), ASKED_AT_ONCE):
        part = enumerate(calls[start : start + ASKED_AT_ONCE])
        body = [{"jsonrpc": "2.0", "id": n, "method": m, "params": p} for n, (m, p) in part]
        answers = HTTP.post(url, json=body, timeout=PATIENCE_S).json()
        assert not any("error" in answer for answer in answers), answers[:3]
        results += [a["result"] for a in sorted(answers, key=lambda answer: answer["id"])]
    return results


def send_in_one_block(
    chain: Chain, contract: str, calls: Sequence[bytes], sender: str, gas: int = CALL_GAS
) -> dict[str, Any]:
    """All of them succeed in the block that is mined now; the block."""
    to = "0x" + chain.deployment.address(contract).hex()
    nonce = int(chain.rpc("eth_getTransactionCount", sender, "latest"), 16)
    fields = {"from": sender, "to": to, "gas": hex(gas)}
    sends = [
        ("eth_sendTransaction", [fields | {"data": "0x" + data.hex(), "nonce": hex(nonce + n)}])
        for n, data in enumerate(calls)
    ]
    chain.rpc("evm_setBlockGasLimit", hex(ROOM))
    with mined_later(chain.url):
        hashes = asked_at_once(chain.url, sends)
        chain.rpc("evm_mine")
        block = chain.rpc("eth_getBlockByNumber", "latest", False)
        chain.rpc("evm_setBlockGasLimit", hex(BLOCK_GAS))
    receipts = asked_at_once(chain.url, [("eth_getTransactionReceipt", [tx]) for tx in hashes])
    assert {receipt["status"] for receipt in receipts} == {"0x1"}
    assert {receipt["blockHash"] for receipt in receipts} == {block["hash"]}
    return dict(block)


def open_channels(chain: Chain, number: int, period_s: int = 3600) -> list[OpenChannel]:
    """Between the same two parties, all in one block."""
    approve(chain, DEPOSIT * number)
    keys = secp(11), secp(12)
    channels = [OpenChannel(chain, *keys, period_s, n.to_bytes(5, "big")) for n in range(number)]
    send_in_one_block(chain, "StateChannels", [c.opening() for c in channels], ADMIN)
    return channels


def challenge_all(chain: Chain, channels: Sequence[OpenChannel]) -> dict[str, Any]:
    """Stale closes of all of them, with version 1, in one block: the block."""
    calls = [channel.challenging(channel.signed(1, DEPOSIT)) for channel in channels]
    return send_in_one_block(chain, "StateChannels", calls, ATTACKER)


def versions(chain: Chain, channels: Sequence[OpenChannel]) -> list[int]:
    """As they stand on chain."""
    to = "0x" + chain.deployment.address("StateChannels").hex()
    of = keccak(b"channelOf(bytes32)")[:4]
    asked = [
        ("eth_call", [{"to": to, "data": "0x" + (of + c.id).hex()}, "latest"]) for c in channels
    ]
    return [int(answer[130:194], 16) for answer in asked_at_once(chain.url, asked)]
