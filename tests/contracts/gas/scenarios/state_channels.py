"""Two-way channels: party A deposits 100, tops up 50; both parties already hold the token."""

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
        packed = self.terms(number).pack()[20:] + _amount(amount)
        return self.send_packed(self.a, "openBrief", packed)

    def sent_by(self, sender: Actor, number: int) -> bytes:
        return self.terms(number).pack_as_sent_by(sender.raw)

    def state(self, sender: Actor, signer: Actor, number: int, version: int, balance: int) -> bytes:
        digest = ChannelState(self.channel_id(number), version, balance).digest(self.domain)
        state = version.to_bytes(5, "big") + _amount(balance)
        return self.sent_by(sender, number) + state + signer.key.sign(digest)

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
    topped = p.send_packed(p.a, "increaseBrief", p.sent_by(p.a, 1) + _amount(50 * UNIT))
    for number in (2, 3):
        p.open(number, 150 * UNIT)
    early = p.send_packed(p.a, "closeBrief", p.sent_by(p.a, 2) + _closing(p, 2, p.b))
    p.bench.pass_time(100_001)
    close = p.send_packed(p.a, "closeBrief", p.sent_by(p.a, 1) + _closing(p, 1, p.b))
    relayer = p.bench.account("relayer")
    relayed = p.send_packed(relayer, "closeBrief", p.sent_by(relayer, 3) + _closing(p, 3, p.a, p.b))
    return {
        "channel_open": opened, "channel_top_up": topped, "channel_close": close,
        "channel_close_early": early, "channel_close_relayed": relayed,
    }  # fmt: skip


def _closing(p: Parties, number: int, *signers: Actor) -> bytes:
    digest = close_digest(p.domain, p.channel_id(number), 110 * UNIT)
    return _amount(110 * UNIT) + b"".join(signer.key.sign(digest) for signer in signers)


def _disputed(parties: Parties) -> dict[str, int]:
    p = replace(parties, open_before=START + 200_000)
    p.open(4, 150 * UNIT)
    challenge = p.send_packed(p.a, "challengeBrief", p.state(p.a, p.b, 4, 3, 140 * UNIT))
    respond = p.send_packed(p.b, "respondBrief", p.state(p.b, p.a, 4, 7, 110 * UNIT))
    p.bench.pass_time(200_001)
    finalise = p.send_packed(p.b, "finaliseBrief", p.sent_by(p.b, 4))
    return {
        "channel_challenge": challenge, "channel_respond": respond, "channel_finalise": finalise
    }  # fmt: skip


def _finalise_ten(parties: Parties) -> int:
    """With the word kept: their time to open is not over."""
    p = replace(parties, open_before=2**40 - 1)
    for number in range(10, 20):
        p.open(number, 150 * UNIT)
        p.send_packed(p.a, "challengeBrief", p.state(p.a, p.b, number, 3, 140 * UNIT))
    p.bench.pass_time(PERIOD_S + 1)
    rows = b"".join(p.terms(number).pack() for number in range(10, 20))
    return p.send_packed(p.b, "finaliseManyBrief", rows)
