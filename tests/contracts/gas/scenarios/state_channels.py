"""Two-way channels: party A deposits 100, tops up 50; both parties already hold the token."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from support.bench import START, Actor, Bench, Measured
from web3.contract import Contract

from corechain.protocol.channel import ChannelState, StateChannel, close_digest, state_domain
from corechain.protocol.eip712 import Domain
from corechain.protocol.hashing import keccak

UNIT, PERIOD_S, OPENING_S = 10**18, 3600, 600


@dataclass(frozen=True)
class Parties:
    """Two holders of the token and the channels between them."""

    bench: Bench
    token: Contract
    channels: Contract
    a: Actor
    b: Actor
    open_before: int = START + 100_000

    def terms(self, number: int) -> StateChannel:
        salt = bytes(4) + bytes([number])
        token = bytes.fromhex(self.token.address[2:])
        return StateChannel(self.a.raw, self.b.raw, token, PERIOD_S, self.open_before, salt)

    def words(self, number: int) -> tuple[object, ...]:
        t = self.terms(number)
        token = self.token.address
        return self.a.address, self.b.address, token, PERIOD_S, self.open_before, t.salt

    @property
    def domain(self) -> Domain:
        return state_domain(self.bench.chain_id, bytes.fromhex(self.channels.address[2:]))

    def channel_id(self, number: int) -> bytes:
        contract = bytes.fromhex(self.channels.address[2:])
        return self.terms(number).channel_id(self.bench.chain_id, contract)

    def open(self, number: int, amount: int) -> int:
        return self.send(self.a, "open", self.words(number), amount, 0)

    def sign_state(
        self, signers: Sequence[Actor], number: int, version: int, balance: int
    ) -> list[bytes]:
        digest = ChannelState(self.channel_id(number), version, balance).digest(self.domain)
        return [signer.key.sign(digest) for signer in signers]

    def challenge(self, number: int) -> int:
        """By party A, with a state that party B has signed."""
        (by_b,) = self.sign_state([self.b], number, 3, 140 * UNIT)
        return self.send(self.a, "challenge", self.words(number), (3, 140 * UNIT, b"", by_b))

    def respond(self, tower: Actor, number: int) -> int:
        """By a watchtower with both signatures, packed: what ours sends."""
        both = b"".join(self.sign_state([self.a, self.b], number, 7, 110 * UNIT))
        terms = self.terms(number).pack_as_sent_by(tower.raw)
        return self.send_packed(
            tower, "respondBrief", terms + (7).to_bytes(5, "big") + _amount(110 * UNIT) + both
        )

    def send(self, sender: Actor, function: str, *arguments: Any) -> int:
        return self.bench.send(sender, self.channels.functions[function](*arguments))

    def send_packed(self, sender: Actor, function: str, packed: bytes) -> int:
        data = keccak(f"{function}()".encode())[:4] + packed
        return self.bench.send_raw(sender, self.channels.address, data)


def _amount(value: int) -> bytes:
    return value.to_bytes(11, "big")


def measure(bench: Bench) -> Measured:
    plain = _parties(bench, "0x" + "00" * 20, "StateChannels")
    guarded = _parties(bench, bench.account("guardian").address, "guarded")
    guarded.open(0, UNIT)
    pausable = {"channel_open_pausable": guarded.open(1, 100 * UNIT)}
    measured = _cooperative(plain) | _disputed(plain) | pausable
    return measured | {"finalise_ten_each": _finalise_ten(plain) // 10}


def _parties(bench: Bench, guardian: str, label: str) -> Parties:
    party_a, party_b = bench.account("party A"), bench.account("party B")
    token = bench.deploy("OrdinaryToken")
    channels = bench.deploy("StateChannels", guardian, label=label)
    for holder in (party_a, party_b):
        bench.send(holder, token.functions.mint(holder.address, 10**6 * UNIT))
        bench.send(holder, token.functions.approve(channels.address, 2**256 - 1))
    return Parties(bench, token, channels, party_a, party_b)


def _cooperative(p: Parties) -> dict[str, int]:
    p.open(0, UNIT)
    opened = p.open(1, 100 * UNIT)
    topped = p.send(p.a, "topUp", p.words(1), 50 * UNIT)
    for number in (2, 3):
        p.open(number, 150 * UNIT)
    early = _close(p, 2, p.a)
    p.bench.pass_time(100_001)
    close = _close(p, 1, p.a)
    relayed = _close(p, 3, p.bench.account("relayer"))
    return {
        "channel_open": opened, "channel_top_up": topped, "channel_close": close,
        "channel_close_early": early, "channel_close_relayed": relayed,
    }  # fmt: skip


def _close(p: Parties, number: int, sender: Actor) -> int:
    """With the signatures of the parties that are not the sender."""
    digest = close_digest(p.domain, p.channel_id(number), 110 * UNIT)
    signatures = [b"" if party is sender else party.key.sign(digest) for party in (p.a, p.b)]
    return p.send(sender, "close", p.words(number), 110 * UNIT, *signatures)


def _disputed(parties: Parties) -> dict[str, int]:
    p = replace(parties, open_before=START + 200_000)
    p.open(4, 150 * UNIT)
    challenge = p.challenge(4)
    respond = p.respond(p.bench.account("tower"), 4)
    p.bench.pass_time(200_001)
    finalise = p.send(p.b, "finalise", p.words(4))
    return {
        "channel_challenge": challenge, "channel_respond": respond, "channel_finalise": finalise
    }  # fmt: skip


def _finalise_ten(parties: Parties) -> int:
    """With the word kept: their time to open is not over."""
    p = replace(parties, open_before=2**40 - 1)
    for number in range(10, 20):
        p.open(number, 150 * UNIT)
        p.challenge(number)
    p.bench.pass_time(PERIOD_S + 1)
    return p.send(p.b, "finaliseMany", [p.words(number) for number in range(10, 20)])
