"""What a broker can do to us, and what can be wrong with a message beyond its reports."""

from corechain.protocol.errors import ProtocolError, TransportError
from corechain.service.errors import Halt


class BrokerUnavailable(TransportError):
    """The broker does not answer, or ended the connection. What is not acknowledged comes again."""


class BrokerRefused(Halt):
    """The broker does not take us as we are set up: only an operator can cure it."""


class WrongTopic(ProtocolError):
    """The topic names neither a device nor a gateway."""

    status = 404

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic!r:.80} names neither a device nor a gateway")
        self.topic = topic


class ForeignDevice(ProtocolError):
    """The report is of another device than the one that the topic names."""

    status = 403

    def __init__(self, device: bytes, topic_device: bytes) -> None:
        super().__init__(
            f"a report of device 0x{device.hex()} on the topic of device 0x{topic_device.hex()}"
        )
        self.device, self.topic_device = device, topic_device


class InternalError(ProtocolError):
    """The gateway failed on this message, in a way that nobody foresaw. It is a dead letter."""

    status = 500
