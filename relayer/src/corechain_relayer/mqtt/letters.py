"""A message as a request: what is in it, what became of it, and what its sender is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import (
    BodyTooLarge,
    MalformedReport,
    ProtocolError,
    ReplayedSequence,
    Unavailable,
)
from corechain.protocol.frame import Columns
from corechain.protocol.reading import DeviceId
from corechain_relayer.gateway.intake import JSON, PACKED, Fault, Intake, intake_of
from corechain_relayer.gateway.problem import MEDIA_TYPE, answer, problem
from corechain_relayer.mqtt.errors import ForeignDevice
from corechain_relayer.mqtt.flow import Answer, Held
from corechain_relayer.mqtt.packets import Message
from corechain_relayer.mqtt.topics import Sender, Topics
from corechain_relayer.registry.view import RegistryView

_JSON_STARTS = (b"{", b"[", b" ", b"\t", b"\r", b"\n")
LATER = 503
"""The status of errors that end by themselves: what has one is tried again, not refused."""


@dataclass(slots=True, eq=False)
class Letter:
    """A message and what is known of it. `error`: of the message as a whole. `undecided`: indexes
    of the reports of `intake` that are neither durable nor refused yet."""

    held: Held
    sender: Sender | None = None
    intake: Intake | None = None
    error: ProtocolError | None = None
    faults: list[Fault] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)
    mistakes: int = 0
    """Of ours, with this message."""

    @property
    def columns(self) -> Columns:
        """The undecided reports."""
        assert self.intake is not None
        columns = self.intake.columns
        whole = len(self.undecided) == len(columns)
        return columns if whole else columns.select(self.undecided)

    def peer(self) -> str:
        return peer_name(self.sender.name if self.sender else "")

    def learn(self, faults: Sequence[Fault]) -> None:
        """One fault for each undecided report; those that may be good later stay undecided."""
        later = []
        for index, fault in zip(self.undecided, faults, strict=True):
            self.faults[index] = fault
            if fault is not None and fault.status == LATER:
                later.append(index)
        self.undecided = later

    def give_up(self, view: RegistryView) -> None:
        """Refuses the reports of devices that cannot be looked up, for this time. What waits for
        the journal of a known device is Unavailable, too, and goes on waiting."""
        assert self.intake is not None
        device_of, faults = self.intake.columns.device, self.faults
        self.undecided = [
            index
            for index in self.undecided
            if not (isinstance(faults[index], Unavailable) and view.unknown((device_of(index),)))
        ]

    def refusals(self) -> list[ProtocolError]:
        """What was refused for good. What we have already is delivered, not refused."""
        errors = [self.error, *self.faults]
        if self.intake is not None:
            errors += self.intake.faults.values()
        return [e for e in errors if e is not None and not isinstance(e, ReplayedSequence)]

    def replays(self) -> int:
        return sum(isinstance(fault, ReplayedSequence) for fault in self.faults)

    def answer(self, topics: Topics) -> Answer | None:
        """What HTTP would answer, for a sender that asks for it and for whatever was refused."""
        message = self.held.message
        if self.sender is None or not (message.response_topic or self.refusals()):
            return None
        body, is_problem = self._body()
        topic = topics.answer_topic(self.sender, message.response_topic)
        return Answer(topic, body, MEDIA_TYPE if is_problem else JSON, message.correlation)

    def _body(self) -> tuple[bytes, bool]:
        if self.error is not None:
            return bytes(problem(self.error).body), True
        assert self.intake is not None
        body = bytes(answer(self.intake, self.faults).body)
        return body, not body.startswith(b'{"accepted"')


def peer_name(sender: str) -> str:
    """A sender among all senders of this gateway: no address of IP looks like that."""
    return f"mqtt:{sender}"


def opened(held: Held, topics: Topics, domain: Domain, max_bytes: int) -> Letter:
    """A message with its reports. Whatever is wrong with it stands in the letter."""
    letter = Letter(held)
    try:
        letter.sender = topics.sender(held.message.topic)
        if held.message.too_long or len(held.message.payload) > max_bytes:
            raise BodyTooLarge(max_bytes)
        letter.intake = bound(_intake(held.message, domain), letter.sender.device)
    except ProtocolError as error:
        letter.error = error
        return letter
    letter.faults = [None] * len(letter.intake.columns)
    letter.undecided = list(range(len(letter.intake.columns)))
    return letter


def _intake(message: Message, domain: Domain) -> Intake:
    """Raises UnsupportedMediaType, MalformedReport, ValueOutOfRange."""
    payload = message.payload
    if message.content_type:
        media_type = message.content_type.partition(";")[0].strip().lower()
        return intake_of(media_type, payload, domain)
    try:
        return intake_of(PACKED, payload, domain)
    except MalformedReport:
        # A device's id may begin with a bracket, so that is no sign. But a text is never packed:
        # where packed reports count their observations, up to 1,024, it has 2,313 or more.
        if payload[:1] not in _JSON_STARTS:
            raise
    return intake_of(JSON, payload, domain)


def bound(intake: Intake, device: DeviceId | None) -> Intake:
    """The same with the reports of other devices than that of the topic refused."""
    columns = intake.columns
    devices = columns.device_ids()
    if device is None or all(one == device for one in devices):
        return intake
    ours = [index for index, one in enumerate(devices) if one == device]
    faults, named = dict(intake.faults), dict(intake.named)
    for index, one in enumerate(devices):
        if one != device:
            faults[intake.places[index]] = ForeignDevice(one, device)
            named[intake.places[index]] = columns.report(index)
    places = [intake.places[index] for index in ours]
    return Intake(columns.select(ours), places, intake.count, faults, named)
