"""Whether an acknowledgement may rest on a Kafka cluster: what its topics are set to. Pure.

Source: Kafka's documentation, "Topic Configs" and "Replication".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corechain_relayer.errors import Shortfall

LARGEST_FRAME = 65 << 20
"""What topics are made for: the largest request body that a setting allows, and its frame's head.
"""
SEGMENT_BYTES = 128 << 20
"""A disk gets acknowledged frames back by whole segments; the default of 1 GiB would keep much."""
UNLIMITED = "-1"


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster describes it. `id` is another one after it was deleted and made anew;
    `config` is None where the cluster does not tell."""

    id: str
    partitions: int
    copies: int
    """The least of a partition's replicas."""
    config: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a bus needs. `copies`: those that are written before a frame is acknowledged."""

    copies: int
    frame_bytes: int

    @property
    def replicas(self) -> int:
        """One more than has to be written: a broker may be away without stopping the bus."""
        return self.copies + 1 if self.copies > 1 else 1

    def topic_config(self) -> dict[str, str]:
        """With which topics are made."""
        return {
            "cleanup.policy": "delete",
            "max.message.bytes": str(max(LARGEST_FRAME, self.frame_bytes)),
            "min.insync.replicas": str(self.copies),
            "retention.bytes": UNLIMITED,
            "retention.ms": UNLIMITED,
            "segment.bytes": str(SEGMENT_BYTES),
            "unclean.leader.election.enable": "false",
        }


REQUIRED = {
    "cleanup.policy": ("delete", "frames without a key would be refused or dropped"),
    "retention.bytes": (UNLIMITED, "frames would be dropped before they are read"),
    "retention.ms": (UNLIMITED, "frames would be dropped before they are read"),
    "unclean.leader.election.enable": ("false", "a broker that lags could become the leader"),
}
LEAST_COPIES = "min.insync.replicas"
ONE_COPY = "one disk would have an acknowledged frame: for development, RELAYER_KAFKA_COPIES=1"


def shortfalls(state: TopicState, wanted: Wanted) -> list[Shortfall]:
    """What keeps a topic from carrying acknowledged frames."""
    config = state.config or {}
    found = [
        Shortfall(name, config[name], value, why)
        for name, (value, why) in REQUIRED.items()
        if name in config and config[name] != value
    ]
    return found + _too_few_copies(state, config, wanted) + _too_small(config, wanted)


def _too_few_copies(
    state: TopicState, config: Mapping[str, str], wanted: Wanted
) -> list[Shortfall]:
    least = f"{wanted.copies} or more"
    in_time = int(config.get(LEAST_COPIES, wanted.copies))
    found = []
    if in_time < wanted.copies:
        found.append(Shortfall(LEAST_COPIES, str(in_time), least, ONE_COPY))
    if state.copies < max(in_time, wanted.copies):
        why = ONE_COPY if in_time <= state.copies else "fewer than min.insync.replicas: no appends"
        found.append(Shortfall("replication factor", str(state.copies), least, why))
    return found


def _too_small(config: Mapping[str, str], wanted: Wanted) -> list[Shortfall]:
    largest = int(config.get("max.message.bytes", wanted.frame_bytes))
    if largest >= wanted.frame_bytes:
        return []
    least = f"{wanted.frame_bytes} or more"
    why = "a frame may be as large as a request body (RELAYER_MAX_BODY_BYTES)"
    return [Shortfall("max.message.bytes", str(largest), least, why)]


def too_few(brokers: int, wanted: Wanted) -> Shortfall:
    """A cluster on which the topics cannot be made."""
    return Shortfall("number of brokers", str(brokers), f"{wanted.replicas} or more", ONE_COPY)


def untold(states: Sequence[TopicState]) -> list[str]:
    """Settings that the cluster does not tell."""
    if all(state.config is not None for state in states):
        return []
    return sorted((*REQUIRED, LEAST_COPIES, "max.message.bytes"))
