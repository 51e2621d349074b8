"""When something was observed, from the many ways in which stations write it. Seconds, UTC."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from corechain.protocol.errors import FutureTimestamp, TimestampTooOld
from corechain_relayer.bridge.errors import (
    AmbiguousTime,
    ClockNotSet,
    MalformedUpload,
    NonexistentTime,
)

_STAMP = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)[ T](\d\d?):(\d\d?)(?::(\d\d?)(?:[.,]\d{1,9})?)?"
    r"\s*(Z|UTC|[+-]\d\d:?\d\d)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = re.compile(r"\d{1,19}(?:\.\d{1,9})?", re.ASCII)
# 1e11 s are the year 5138, 1e11 ms are 1973: no time of a station can be meant both ways.
_THOUSANDS = 10**11
EARLIEST_LIVE = 1_420_070_400
"""2015-01-01: before every station that uploads in these formats today, after the years at which
unset clocks start (1, 1970, 2000, 2010)."""
EARLIEST_ARCHIVED = 365 * 86_400
"""1971-01-01: an archive may be old, but a file of 1970 was written by an unset clock."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What times are believed: not before `earliest`, not older than `max_age_s` (None: any age),
    not more than `ahead_s` after `now`."""

    now: int
    earliest: int = EARLIEST_LIVE
    max_age_s: int | None = None
    ahead_s: int = 300

    def check(self, at: int) -> int:
        """Raises ClockNotSet, FutureTimestamp, TimestampTooOld."""
        if at < self.earliest:
            raise ClockNotSet
        if at > self.now + self.ahead_s:
            raise FutureTimestamp(at, self.now + self.ahead_s)
        if self.max_age_s is not None and at < self.now - self.max_age_s:
            raise TimestampTooOld(at, self.now - self.max_age_s)
        return at


def from_epoch(value: int | float) -> int:
    """Seconds of a number of seconds, milli-, micro- or nanoseconds. Raises MalformedUpload."""
    if not 0 <= value < 1e19:  # NaN compares false too
        raise MalformedUpload("a time is no number of seconds since 1970")
    seconds = value
    while seconds >= _THOUSANDS:
        seconds /= 1000
    # A whole number of seconds stays exact: floats hold integers below 2^53.
    return int(value) if seconds is value else int(seconds)


def instant(raw: object, zone: tzinfo = UTC, after: int | None = None) -> int:
    """Seconds of an ISO text (with an offset, or local time of `zone`) or of a number since 1970.

    `after`: the observation before, which decides between the two passes of an hour that happens
    twice. Raises MalformedUpload, AmbiguousTime, NonexistentTime.
    """
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return from_epoch(raw)
    text = raw.strip() if isinstance(raw, str) else ""
    if _EPOCH.fullmatch(text):
        return from_epoch(float(text) if "." in text else int(text))
    match = _STAMP.fullmatch(text[:48])
    if match is None or len(text) > 48:
        raise MalformedUpload("a time is neither ISO 8601 nor a number since 1970")
    naive = _naive(match)
    if match[7] is None:
        return local_instant(naive, zone, after)
    return int((naive - _offset(match[7])).replace(tzinfo=UTC).timestamp())


def _naive(match: re.Match[str]) -> datetime:
    year, month, day, hour, minute = (int(match[index]) for index in range(1, 6))
    # A leap second is the second before it: a reading counts whole seconds of POSIX time.
    second = min(int(match[6] or 0), 59) if int(match[6] or 0) <= 60 else 61
    if year < 1900:  # LoRaWAN gateways without GPS: 0001-01-01, which an offset would underflow
        raise ClockNotSet
    if year > 9000:  # the same at the other end of the calendar
        raise MalformedUpload("a time of no year that is near")
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        raise MalformedUpload("a date that no calendar has") from None


def _offset(text: str) -> timedelta:
    if text.upper() in ("Z", "UTC"):
        return timedelta()
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 15 or minutes > 59:
        raise MalformedUpload("an offset from UTC that no place has")
    return timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)


def local_instant(naive: datetime, zone: tzinfo, after: int | None = None) -> int:
    """Seconds of a local time. Raises AmbiguousTime, NonexistentTime."""
    if zone is UTC or isinstance(zone, timezone):
        return int(naive.replace(tzinfo=zone).timestamp())
    first, second = (int(naive.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    if first == second:
        return first
    # In the gap, the earlier fold lies after the later one (PEP 495).
    if first > second:
        raise NonexistentTime
    if after is None:
        raise AmbiguousTime
    return first if first > after else second
