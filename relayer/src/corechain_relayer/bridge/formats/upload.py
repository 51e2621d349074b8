"""What a format reads from one message: measurements and counters, or why not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from corechain.protocol.vocabulary import BY_NAME
from corechain_relayer.bridge.errors import MalformedUpload, NothingMeasured
from corechain_relayer.bridge.formats.clocks import Clock
from corechain_relayer.bridge.formats.numbers import NotANumber, NoValue, number_of
from corechain_relayer.bridge.formats.pressure import at_sea_level, from_altimeter
from corechain_relayer.bridge.formats.units import UNITS, DoesNotFit, Unit, converted, scaled

MAX_FIELDS = 512
MAX_SKIPPED = 64
"""Reasons kept of one upload: more would let a hostile upload fill the log."""
NO_VALUE, NOT_A_NUMBER, OUT_OF_RANGE = "NoValue", "NotANumber", "OutOfRange"
TOO_MANY = "TooManyItems"
NEEDS_ELEVATION, NEEDS_TEMPERATURE = "NeedsElevation", "NeedsTemperature"


@dataclass(frozen=True)
class Message:
    """One request of a station, or one document of a file. Its repr shows nothing of it: bodies,
    queries and headers carry secrets."""

    body: bytes = field(default=b"", repr=False)
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content_type: str = ""
    trace: bytes | None = None
    """Trace (16 bytes) and span (8 bytes) of the upload, where it is followed."""

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of the query and of a form body. Raises MalformedUpload."""
        text = "&".join(part for part in (self.query, self._form_body()) if part)
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            raise MalformedUpload(f"more than {MAX_FIELDS} fields") from None
        found = dict(pairs)
        if len(found) != len(pairs):
            # Two values of one field: decoders disagree which one counts.
            raise MalformedUpload("a field is repeated")
        return found

    def _form_body(self) -> str:
        # Some stations end the body with a newline or a NUL.
        return self.body.strip(b"\0\r\n &").decode("utf-8", "replace")

    @cached_property
    def document(self) -> Any:
        """The JSON of the body. Raises MalformedUpload."""
        return decoded_json(self.body)

    @property
    def object(self) -> dict[str, Any]:
        """The JSON object of the body. Raises MalformedUpload."""
        return object_in(self.document, "the body")


def decoded_json(raw: bytes | str) -> Any:
    """Raises MalformedUpload, which does not show it."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedUpload("not JSON") from None


def object_in(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedUpload(f"{what} is no JSON object")
    return value


def list_in(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedUpload(f"{what} is no JSON list")
    return value


def text_in(value: object) -> str:
    """A short text; empty where there is none."""
    return value.strip()[:128] if isinstance(value, str) else ""


class Measurement(NamedTuple):
    """`metric` code, `at` in seconds UTC, `value` scaled."""

    metric: int
    at: int
    value: int


class Counter(NamedTuple):
    """A total that only grows until it is reset: what fell since the last one is its difference.

    `total` in the metric's scaled unit; better counters (reset less often) come first.
    """

    name: str
    metric: int
    at: int
    total: int


Row = tuple[int, int] | None
"""(metric, time) that an entry of a request measured; None for one that measured nothing."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What one message says. `skipped`: reasons by field, of what is no measurement. `rows`: its
    entries in order, where the answer has to speak of each."""

    measurements: tuple[Measurement, ...]
    counters: tuple[Counter, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a station beforehand: `zone` of its local times, `elevation_m` above sea
    level (without it no pressure can be reduced), `mapping` of fields of its own."""

    zone: tzinfo = UTC
    elevation_m: float | None = None
    mapping: Any = None


@dataclass(slots=True)
class Draft:
    """Collects the values of one upload. A bad field costs that field, not the upload."""

    at: int
    profile: Profile
    _values: dict[tuple[int, int], int] = field(default_factory=dict)
    _counters: dict[str, Counter] = field(default_factory=dict)
    _pressures: list[tuple[str, int, Fraction, bool]] = field(default_factory=list)
    _temperatures: dict[int, Fraction] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    skips: int = 0
    """How often something was skipped: `skipped` keeps one reason a name, and not of all names."""

    def skip(self, name: str, reason: str) -> None:
        self.skips += 1
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped[name] = reason

    def add(
        self, name: str, metric: str, raw: object, unit: Unit, factor: Fraction = Fraction(1)
    ) -> None:
        """A field's value for a metric, in a unit; the first field of a metric counts."""
        value = self._number(name, raw)
        if value is None:
            return
        if metric in ("station_pressure", "altimeter"):
            pressure = converted(value * factor, unit)
            self._pressures.append((name, self.at, pressure, metric == "altimeter"))
            return
        self._put(name, metric, self.at, value * factor, unit)

    def _put(self, name: str, metric: str, at: int, value: Fraction, unit: Unit) -> None:
        wire = self._scaled(name, value, unit, metric)
        if wire is None:
            return
        if metric == "air_temperature":
            self._temperatures.setdefault(at, converted(value, unit))
        self._values.setdefault((BY_NAME[metric].code, at), wire)

    def count(
        self, name: str, metric: str, raw: object, unit: Unit, factor: Fraction = Fraction(1)
    ) -> None:
        """A field that holds a running total."""
        value = self._number(name, raw)
        total = None if value is None else self._scaled(name, value * factor, unit, metric)
        if total is None:
            return
        if total < 0:
            self.skip(name, OUT_OF_RANGE)
            return
        self._counters.setdefault(name, Counter(name, BY_NAME[metric].code, self.at, total))

    def _number(self, name: str, raw: object) -> Fraction | None:
        try:
            return number_of(raw)
        except NoValue:
            self.skip(name, NO_VALUE)
        except NotANumber:
            self.skip(name, NOT_A_NUMBER)
        return None

    def _scaled(self, name: str, value: Fraction, unit: Unit, metric: str) -> int | None:
        try:
            return scaled(value, unit, BY_NAME[metric])
        except DoesNotFit:
            self.skip(name, OUT_OF_RANGE)
            return None

    def _reduce_pressures(self) -> None:
        """To sea level, which is the network's `pressure`: that needs elevation and temperature."""
        elevation = self.profile.elevation_m
        for name, at, pressure, is_altimeter in self._pressures:
            celsius = self._temperatures.get(at)
            if elevation is None:
                self.skip(name, NEEDS_ELEVATION)
            elif celsius is None:
                self.skip(name, NEEDS_TEMPERATURE)
            elif not 100 <= pressure <= 1500 or not -100 <= celsius <= 100:
                self.skip(name, OUT_OF_RANGE)
            else:
                station = from_altimeter(float(pressure), elevation) if is_altimeter else pressure
                reduced = at_sea_level(float(station), elevation, float(celsius))
                self._put(name, "pressure", at, Fraction(reduced), UNITS["hPa"])

    def upload(self) -> Upload:
        """Raises NothingMeasured."""
        self._reduce_pressures()
        self._pressures.clear()
        if not self._values and not self._counters:
            raise NothingMeasured
        found = (Measurement(metric, at, v) for (metric, at), v in self._values.items())
        counters = tuple(self._counters.values())
        return Upload(tuple(sorted(found)), counters, dict(self.skipped))


@dataclass(frozen=True, slots=True)
class Arrival:
    """What every format's `read` is asked with: a message, its station, what times are believed."""

    message: Message
    profile: Profile
    clock: Clock

    def draft(self, at: int) -> Draft:
        """Raises ClockNotSet, FutureTimestamp, TimestampTooOld."""
        return Draft(self.clock.check(at), self.profile)
