"""Where a bus on Kafka is: `kafka://broker,broker/prefix`, and the names of its topics. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

SCHEME = "kafka://"
_URL = re.compile(r"kafka://(?P<brokers>[^/\s@]+)/(?P<prefix>[A-Za-z0-9._-]{1,200})/?")
OWNED = frozenset(
    {
        "acks",
        "request.required.acks",
        "auto.commit.enable",
        "auto.offset.reset",
        "bootstrap.servers",
        "compression.codec",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "metadata.broker.list",
        "transactional.id",
    }
)
"""Options of librdkafka on which an acknowledgement, or the order of a lane, rests."""


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    brokers: str
    """`host:port`, separated by commas: those to ask first, not necessarily all."""
    prefix: str

    @property
    def reports(self) -> str:
        """The topic of the frames, with a partition a lane."""
        return f"{self.prefix}.reports"

    @property
    def dead(self) -> str:
        """The topic of the dead letters."""
        return f"{self.prefix}.dead"

    @property
    def group(self) -> str:
        """Under which the aggregators commit how far they are."""
        return f"{self.prefix}.aggregator"


def parse_address(url: str) -> KafkaAddress:
    """Raises ValueError, without the URL: it may be a secret by mistake."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("is not kafka://BROKER,BROKER/PREFIX")
    return KafkaAddress(found["brokers"], found["prefix"])


def parse_options(text: str) -> Mapping[str, str]:
    """Options of librdkafka: lines of `name=value`, or a JSON object.

    Raises ValueError, which names an option but no value.
    """
    options = _object(text) if text.lstrip().startswith("{") else dict(_lines(text))
    for name in options:
        if name in OWNED:
            raise ValueError(f"{name} is not to be changed: acknowledgements rest on it")
    return options


def _object(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        raise ValueError("is not a JSON object") from None
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError("has a value that is no text")
    return dict(found)


def _lines(text: str) -> list[tuple[str, str]]:
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("has a line without '='")
    return [(name.strip(), value.strip()) for name, _, value in pairs]
