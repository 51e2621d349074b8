"""Why an upload is refused. No sentence here repeats what was sent: uploads carry secrets
(PASSKEY, PASSWORD, tokens), and a refusal goes to logs, answers and metrics."""

from collections.abc import Iterable
from traceback import format_tb

from corechain.protocol.errors import ProtocolError


class MalformedUpload(ProtocolError):
    """The upload cannot be read as its format."""


class NothingMeasured(ProtocolError):
    """The upload can be read, and holds no value that the network has a metric for."""

    status = 422

    def __init__(self) -> None:
        super().__init__("no value in the upload is one of our metrics")


class NothingNew(ProtocolError):
    """The observation is not after the newest of its kind that the station has sent."""

    status = 409

    def __init__(self, reasons: Iterable[str]) -> None:
        super().__init__(f"no observation was created: {', '.join(sorted(set(reasons)))}")


class ClockNotSet(ProtocolError):
    """The station's clock stands at the beginning of its time: it has not been set."""

    status = 422

    def __init__(self) -> None:
        super().__init__("the time in the upload is before any station of this kind: set its clock")


class MissingTime(ProtocolError):
    """Nothing in the upload says when it was observed."""

    status = 422

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} holds no time")


class AmbiguousTime(ProtocolError):
    """A local time that happened twice: the hour in which daylight saving time ends."""

    status = 422

    def __init__(self) -> None:
        super().__init__("a local time that happened twice: send UTC, or an offset")


class NonexistentTime(ProtocolError):
    """A local time that never happened: the hour in which daylight saving time begins."""

    status = 422

    def __init__(self) -> None:
        super().__init__("a local time that the clocks skipped: send UTC, or an offset")


class InvalidMapping(ProtocolError):
    """A mapping file does not say what it should."""

    status = 422


class TooManyUploads(ProtocolError):
    """The station uploads faster than one that works."""

    status = 429

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            f"more uploads of this station than one sends that works: wait {retry_after_s} s"
        )
        self.retry_after_s = retry_after_s


class StationBacklog(ProtocolError):
    """Too many reports of this station wait for the gateway. Others are taken."""

    status = 503

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} reports of this station wait for the gateway")


class UnknownTopic(ProtocolError):
    """The topic is none on which a network server publishes uplinks."""

    status = 404

    def __init__(self) -> None:
        super().__init__("the topic is none of a network server's for uplinks")


class ForeignTopic(ProtocolError):
    """The message is of another device than its topic."""

    status = 403

    def __init__(self) -> None:
        super().__init__("the message names another device than its topic")


class Internal(ProtocolError):
    """The bridge failed on this message, in a way that nobody foresaw."""

    status = 500


def places_of(error: BaseException) -> str:
    """Where in the code a mistake of ours is. Not its words: they may quote what a station sent."""
    return "".join(format_tb(error.__traceback__))
