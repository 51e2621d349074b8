"""Every error of the gateway has its place in MQTT, under the name that it has in HTTP.

given any error that the gateway knows
  when it is about a report that came by MQTT
    it ends by itself, and the report is tried again
    or the report is here already, and that is no refusal
    or the sender is told what HTTP says, and it is counted under the same name
"""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.json import decode

import corechain_relayer.gateway
import corechain_relayer.mqtt
from corechain.protocol.errors import ProtocolError, ReplayedSequence, Unavailable
from corechain.protocol.frame import Columns
from corechain.protocol.problems import problem_type
from corechain_relayer.gateway.intake import Fault
from corechain_relayer.gateway.problem import answer
from corechain_relayer.mqtt import subscriber as subscriber_module
from corechain_relayer.mqtt.errors import InternalError
from corechain_relayer.mqtt.flow import Held
from corechain_relayer.mqtt.letters import LATER, opened
from corechain_relayer.mqtt.packets import Message
from corechain_relayer.registry.view import Device, RegistryView
from relayer.mqtt.gateways import DOMAIN, TOPICS, FailingGateway, subscriber_to
from relayer.mqtt.links import link_to, opening
from relayer.support import Sensor, secp

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"
SENDER = Sensor(secp(1), DOMAIN)
PAYLOAD = SENDER.report().pack()
MESSAGE = Message(f"corechain/v1/reports/0x{PAYLOAD[:20].hex()}", PAYLOAD, 1)


def known_errors() -> Iterator[type[ProtocolError]]:
    """What the modules of gateway and role mqtt know by name."""
    for package in (corechain_relayer.gateway, corechain_relayer.mqtt):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(found.name)).values():
                if isinstance(value, type) and issubclass(value, ProtocolError):
                    yield value


ERRORS = sorted({*known_errors()} - {ProtocolError}, key=lambda kind: kind.__name__)


def an(kind: type[ProtocolError]) -> ProtocolError:
    """One with nothing in it but its name and status."""
    error = kind.__new__(kind)
    Exception.__init__(error, "for a test")
    return error


def test_the_list_is_not_empty_and_every_name_is_in_the_table_of_errors() -> None:
    table = PROTOCOL.read_text()
    assert {"InvalidSignature", "Overloaded", "WrongTopic"} <= {kind.__name__ for kind in ERRORS}
    missing = [kind.__name__ for kind in ERRORS if kind.__name__ not in table]
    assert missing == []


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_module, "FIRST_PAUSE_S", 0.0)


@pytest.mark.parametrize("kind", ERRORS)
async def test_an_error_has_its_place_under_its_own_name(kind: type[ProtocolError]) -> None:
    error, tries = an(kind), list[int]()

    def verdict(columns: Columns) -> list[Fault]:
        tries.append(len(columns))
        return [error if len(tries) == 1 else None]

    gateway, link = FailingGateway(verdict), link_to("mqtt://127.0.0.1", opening(), [])
    await subscriber_to(link, gateway)._take(link, [link.held.add(MESSAGE)])
    assert len(link.held) == 0
    exposed = gateway.metrics.exposition().decode()
    is_counted = f'corechain_reports_rejected_total{{reason="{kind.__name__}"}} 1.0' in exposed
    is_answered = 'corechain_mqtt_answers_total{outcome="sent"} 1.0' in exposed
    is_later, is_here = kind.status == LATER, kind is ReplayedSequence
    assert tries == ([1, 1] if is_later else [1])
    assert (is_counted, is_answered) == (not is_later, not (is_later or is_here))


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if kind is not InternalError])
def test_the_answer_is_that_of_http(kind: type[ProtocolError]) -> None:
    letter = opened(Held(MESSAGE), TOPICS, DOMAIN, 1 << 20)
    assert letter.intake is not None
    letter.learn([an(kind)])
    letter.undecided.clear()
    told = letter.answer(TOPICS)
    if kind is ReplayedSequence:
        assert told is None
        return
    assert told is not None
    assert told.payload == bytes(answer(letter.intake, [an(kind)]).body)
    assert decode(told.payload)["type"] == problem_type(an(kind))


@pytest.mark.parametrize("is_known", [False, True])
async def test_only_who_cannot_be_looked_up_is_sent_away_after_a_while(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known device may be Unavailable, too, while the journal is away: it waits as ever."""
    monkeypatch.setattr(subscriber_module, "LOOK_UP_S", 0.0)
    tries = list[int]()

    def verdict(columns: Columns) -> list[Fault]:
        tries.append(len(columns))
        return [Unavailable("for a test") if len(tries) < 4 else None]

    device = Device(SENDER.key.identity, bytes(20))
    view = RegistryView({device.identity.device: device} if is_known else {})
    gateway, link = FailingGateway(verdict), link_to("mqtt://127.0.0.1", opening(), [])
    gateway.registry = SimpleNamespace(seen=1, view=view)
    await subscriber_to(link, gateway)._take(link, [link.held.add(MESSAGE)])
    exposed = gateway.metrics.exposition().decode()
    is_refused = 'corechain_reports_rejected_total{reason="Unavailable"} 1.0' in exposed
    assert len(link.held) == 0
    assert (len(tries), is_refused) == ((4, False) if is_known else (2, True))
