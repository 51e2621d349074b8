"""A forger slows only himself.

given a gateway
  when a forged report comes, the frame that it shares is checked one by one, once
  when the same sender sends again, his requests share no frame with others
  when he is good for a while, he is forgotten; so is the oldest of too many
"""

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.eip712 import Domain, report_digest
from corechain.protocol.errors import HighS, InvalidSignature, MalformedReport, ProtocolError
from corechain.protocol.frame import Columns, FrameVerifier
from corechain.protocol.keys import DeviceIdentity, Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.service.direct import Answer
from corechain.service.peers import source_of
from corechain.service.workers import Workers
from corechain_relayer.bus.room import Limits, Rooms
from corechain_relayer.gateway.frames import FrameWork
from corechain_relayer.gateway.gate import Taken
from corechain_relayer.gateway.intake import PACKED, FrameJudge, Judge, TimeLimits
from corechain_relayer.gateway.service import Gateway
from corechain_relayer.gateway.suspects import FORGET_AFTER_S, MOST, Suspects
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.view import Device, RegistryView

CELL = 0x872A1072BFFFFFF
DOMAIN = Domain("CoreChain", "1", 1337, bytes(20))
KEYS = [Secp256k1Key(bytes([n]) * 32) for n in range(1, 9)]
HONEST, FORGER = "198.51.100.1", "203.0.113.9"
LATER_S = 10**9


@dataclass(frozen=True, slots=True)
class Watched(FrameVerifier):
    """Writes down the devices of each call."""

    calls: list[list[bytes]] = field(default_factory=list)

    def verify_all(
        self, columns: Columns, identities: Sequence[DeviceIdentity]
    ) -> list[ProtocolError | None]:
        self.calls.append([bytes(device) for device in columns.device_ids()])
        return FrameVerifier.verify_all(self, columns, identities)


class Open:
    """A lane that takes everything, and a registry that knows every device of KEYS."""

    lane, seen, book = 0, 1, None

    def __init__(self) -> None:
        devices = [Device(key.identity, bytes(20)) for key in KEYS]
        self.view = RegistryView({device.identity.device: device for device in devices})
        self.rooms = Rooms.of(1, Limits(0))
        self.book: Any = self

    def has_loaded(self, devices: object) -> bool:
        return True

    def require(self) -> None:
        pass

    async def refresh_for(self, devices: object) -> None:
        pass

    async def take_new(self, columns: Columns) -> Taken:
        return Taken([None] * len(columns), [])


def gateway() -> tuple[Gateway, list[list[bytes]]]:
    everything: Any = Open()
    verifier = Watched(DOMAIN)
    judge = FrameJudge(Judge(DOMAIN, TimeLimits(LATER_S * 9, LATER_S)), verifier)
    work = FrameWork(judge, everything, [everything], Workers("test", 1))
    made = Gateway(DOMAIN, everything, work, everything, everything, Metrics(), 0.0, 60.0)
    return made, verifier.calls


def signed(number: int, sequence: int, forged: bool = False) -> SignedReport:
    key = KEYS[number]
    report = Report.of(key.identity.device, sequence, [Observation(1, CELL, 1_000, sequence)])
    by = KEYS[(number + 1) % len(KEYS)] if forged else key
    return SignedReport(report, by.sign(report_digest(DOMAIN, report)))


async def ask(gate: Gateway, peer: str, report: SignedReport) -> Answer:
    """By the straight way."""
    answered: asyncio.Future[Answer | Exception] = asyncio.get_running_loop().create_future()
    assert gate.take_straight(PACKED, report.pack(), lambda: peer, answered.set_result)
    found = await answered
    assert isinstance(found, Answer)
    return found


async def together(gate: Gateway, sequence: int) -> list[int]:
    """Statuses of six honest devices and, in their midst, a forger."""
    honest = [ask(gate, HONEST, signed(n, sequence)) for n in range(6)]
    forger = ask(gate, FORGER, signed(6, sequence, forged=True))
    answers = await asyncio.gather(*honest[:3], forger, *honest[3:])
    return [found.status for found in answers]


async def test_a_forger_spoils_one_frame_and_shares_none_afterwards() -> None:
    gate, calls = gateway()
    forged = bytes(KEYS[6].identity.device)
    expected = [202] * 3 + [403] + [202] * 3
    assert await together(gate, 1) == expected
    assert [forged in frame for frame in calls] == [True]  # one frame for all of them
    for sequence in (2, 3, 4):
        calls.clear()
        assert await together(gate, sequence) == expected
        assert sorted(len(frame) for frame in calls) == [1, 6]
        assert [forged] in calls


async def test_the_long_way_knows_the_forgers_of_the_straight_one_and_teaches_it() -> None:
    gate, calls = gateway()
    forger = lambda: FORGER  # noqa: E731
    answer = await gate.accept(PACKED, signed(6, 1, forged=True).pack(), forger)
    assert answer.status == 403
    calls.clear()
    await asyncio.gather(
        ask(gate, FORGER, signed(6, 2)),
        ask(gate, HONEST, signed(0, 2)),
        gate.accept(PACKED, signed(5, 2).pack(), forger),
    )
    devices = [bytes(KEYS[n].identity.device) for n in (6, 5)]
    assert sorted(map(sorted, calls)) == sorted([sorted(devices), [bytes(KEYS[0].identity.device)]])


def forged_by(*peers: str) -> Suspects:
    found = Suspects(lambda: 0.0)
    for peer in peers:
        found.note(lambda peer=peer: peer, [None, InvalidSignature("no")])
    return found


def test_a_sender_is_forgotten_after_a_while_without_forgeries() -> None:
    now = array("d", [0.0])
    suspects = Suspects(lambda: now[0])
    suspects.note(lambda: FORGER, [HighS("no")])
    now[0] = FORGET_AFTER_S - 1
    assert suspects.has(lambda: FORGER)
    now[0] = FORGET_AFTER_S
    assert not suspects.has(lambda: FORGER)
    assert not len(suspects)


def test_who_only_makes_other_mistakes_is_no_forger() -> None:
    suspects = Suspects()
    suspects.note(lambda: HONEST, [MalformedReport("no"), None])
    assert not len(suspects)


def test_so_many_senders_are_remembered_and_no_more() -> None:
    suspects = forged_by(*(f"10.0.{n >> 8}.{n & 255}" for n in range(MOST + 10)))
    assert len(suspects) == MOST
    assert not suspects.has(lambda: "10.0.0.9")
    assert suspects.has(lambda: "10.0.0.10")


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_addresses_of_an_ipv6_host_are_one_sender(address: Any, host: int) -> None:
    network = int(address) >> 64 << 64
    suspects = forged_by(str(address))
    neighbour = type(address)(network | host)
    for written in (str(neighbour), neighbour.exploded.upper()):
        if neighbour.ipv4_mapped is None and address.ipv4_mapped is None:
            assert suspects.has(lambda written=written: written)


def test_another_host_is_another_sender() -> None:
    assert source_of("::ffff:198.51.100.1") != source_of("::ffff:198.51.100.2")
    assert source_of("an unknown proxy's word") == "an unknown proxy's word"
    suspects = forged_by("2001:db8:1:2::1", HONEST)
    assert suspects.has(lambda: "2001:0DB8:1:2:3::")
    assert not suspects.has(lambda: "2001:db8:1:3::1")
    assert suspects.has(lambda: HONEST)
    assert not suspects.has(lambda: FORGER)
