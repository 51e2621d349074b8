"""Decides what is in the open window and when it is due. Holds no clock and no socket."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from corechain.protocol.reading import DeviceId, SignedReport
from corechain_relayer.sequences import JOURNAL_WIDTH, Seen, SequenceWindow

Key = tuple[DeviceId, int]


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a frame's reports."""

    accepted: tuple[SignedReport, ...] = ()
    duplicate: tuple[SignedReport, ...] = ()
    """The same report is in the window."""
    conflicting: tuple[SignedReport, ...] = ()
    """Another report with this sequence is in the window."""
    committed: tuple[SignedReport, ...] = ()
    """A report with this sequence is in a batch; whether the same one, the journal knows."""
    stale: tuple[SignedReport, ...] = ()
    """Too far below the newest to know whether they were seen."""


@dataclass(frozen=True, slots=True)
class Window:
    """The content of a batch to be, and the ids of the frames that a sealed batch acknowledges."""

    reports: tuple[SignedReport, ...]
    frames: tuple[str, ...]

    @property
    def devices(self) -> set[DeviceId]:
        return {signed.report.device for signed in self.reports}


@dataclass(slots=True)
class Batcher:
    """Drops what was seen, collects the rest, in whole frames. Times in seconds, any origin.

    A window may exceed `max_readings` by one frame: a frame is never split, so that acknowledging
    it stays one step.
    """

    max_readings: int
    max_age_s: float
    _seen: dict[DeviceId, SequenceWindow] = field(default_factory=dict)
    _reports: dict[Key, SignedReport] = field(default_factory=dict)
    _frames: list[str] = field(default_factory=list)
    _observations: int = 0
    _held_observations: int = 0
    _since: float = 0.0

    def unknown(self, devices: Iterable[DeviceId]) -> set[DeviceId]:
        """Devices whose committed sequences the caller still has to `learn`."""
        return set(devices) - self._seen.keys()

    def learn(
        self, devices: Iterable[DeviceId], committed: Mapping[DeviceId, SequenceWindow]
    ) -> None:
        for device in devices:
            self._seen.setdefault(device, committed.get(device, SequenceWindow()))

    def add(self, frame: str, reports: Iterable[SignedReport], now: float) -> Added:
        """Takes a frame's reports. Its devices must be known.

        The window keeps the frame's id only when it keeps something of the frame: any other frame
        the caller may acknowledge at once, what it repeats is durable without it.
        """
        groups: dict[str, list[SignedReport]] = {}
        for signed in reports:
            groups.setdefault(self._place(signed, now), []).append(signed)
        if "accepted" in groups:
            self._frames.append(frame)
        return Added(**{name: tuple(group) for name, group in groups.items()})

    def _place(self, signed: SignedReport, now: float) -> str:
        device, sequence = signed.report.device, signed.report.sequence
        window = self._seen[device]
        seen = window.look(sequence, JOURNAL_WIDTH)
        if seen is Seen.STALE:
            return "stale"
        if seen is Seen.REPLAYED:
            held = self._reports.get((device, sequence))
            if held is None:
                return "committed"
            return "duplicate" if held.report == signed.report else "conflicting"
        if not self._reports:
            self._since = now
        self._seen[device] = window.with_seen(sequence, JOURNAL_WIDTH)
        self._reports[device, sequence] = signed
        self._observations += signed.report.count
        return "accepted"

    def is_due(self, now: float) -> bool:
        """Full, or old enough; after `hold` only when there is something new in it."""
        fresh = self._observations - self._held_observations
        return fresh > 0 and (fresh >= self.max_readings or self.wait_s(now) <= 0)

    def wait_s(self, now: float) -> float:
        """Seconds until the window is old enough; `max_age_s` when nothing is new in it."""
        if self._observations == self._held_observations:
            return self.max_age_s
        return self._since + self.max_age_s - now

    def window(self) -> Window:
        return Window(tuple(self._reports.values()), tuple(self._frames))

    def hold(self, now: float) -> None:
        """No observation in the window can be a leaf: keep it until there are others."""
        self._held_observations, self._since = self._observations, now

    def clear(self) -> None:
        """The window is sealed and durable: the next one starts empty."""
        self._reports, self._frames = {}, []
        self._observations = self._held_observations = 0

    @property
    def report_count(self) -> int:
        return len(self._reports)
