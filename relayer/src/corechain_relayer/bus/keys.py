"""Names of a lane's keys on the server."""

from dataclasses import dataclass

GROUP = "aggregator"
FIELD = b"f"


@dataclass(frozen=True, slots=True)
class LaneKeys:
    """A lane's keys. One hash tag for all of them, so that a script may touch them together on a
    cluster, and another one for each lane, so that a cluster spreads the lanes."""

    stream: str
    """The frames, oldest first."""

    @property
    def dead(self) -> str:
        """Dead letters: what no batch may hold, with the reason."""
        return f"{self.stream}:dead"

    @property
    def position(self) -> str:
        """How many frames were ever appended, and the server's run in which the last one was."""
        return f"{self.stream}:position"

    @property
    def newest(self) -> str:
        """Device → its highest sequence that was ever on this lane, 20 decimal digits."""
        return f"{self.stream}:newest"


def lane_keys(stream: str, lane: int) -> LaneKeys:
    """The keys of one lane; `stream` is RELAYER_BUS_STREAM. A hash tag in it is kept."""
    return LaneKeys(f"{stream}:{lane}" if "{" in stream else f"{{{stream}:{lane}}}")
