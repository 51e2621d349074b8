"""CWOP: weather packets of APRS, as text lines (also behind an APRS-IS login line, as its HTTP port
takes them). °F, mph, hundredths of an inch, tenths of hPa, h00 for 100 %.

APRS Protocol Reference 1.0.1, chapters 6, 9, 12; weather.gladstonefamily.net/aprswxnet.html
(`b` is the altimeter setting, `L` and `l` are W/m²).
"""

import re
from datetime import UTC, datetime, timedelta

from corechain_relayer.bridge.errors import MalformedUpload
from corechain_relayer.bridge.formats.clocks import local_instant
from corechain_relayer.bridge.formats.rules import ALTIMETER, Rule, counter, put, rule
from corechain_relayer.bridge.formats.upload import Arrival, Draft, Message, Upload

_CALL = re.compile(r"([A-Z0-9]{1,9}(?:-[A-Z0-9]{1,2})?)>[^:]{1,200}:(.*)", re.ASCII)
# Digits of a position may be blanked for privacy, from the right.
_PLAIN = re.compile(r"\d\d[\d ]{2}\.[\d ]{2}[NS].\d{3}[\d ]{2}\.[\d ]{2}[EW]_", re.ASCII)
_COMPRESSED = re.compile(r"[/\\A-Za-j][!-{]{8}_([ -{])([ -{])[!-{]", re.ASCII)
_WIND = re.compile(r"(\d{3}|[. ]{3})/(\d{3}|[. ]{3})", re.ASCII)
_POSITIONLESS_WIND = re.compile(r"c(\d{3}|[. ]{3})s(\d{3}|[. ]{3})", re.ASCII)
MAX_LINES = 16
MAX_LINE_BYTES = 512
"""With its end, as APRS-IS has it (aprs-is.net/Connecting.aspx)."""
_DAYS_BACK = 62
"""A packet names the day of a month: every number up to 31 is among the last 62 days."""

_DIRECTION = rule("direction", "wind_direction", "deg")
_SPEED = rule("speed", "wind_speed", "[mi_i]/h")
_KNOTS = rule("speed", "wind_speed", "[kn_i]")
# Letter, digits, what it is; None: no use for it (rolling hours of rain, snow).
_FIELDS: dict[str, tuple[int, Rule | None]] = {
    "g": (3, rule("g", "wind_gust", "[mi_i]/h")),
    "t": (3, rule("t", "air_temperature", "[degF]")),
    "h": (2, rule("h", "relative_humidity", "%")),
    "b": (5, rule("b", ALTIMETER, "hPa", "1/10")),
    "L": (3, rule("L", "solar_irradiance", "W/m2")),
    "l": (3, rule("l", "solar_irradiance", "W/m2")),
    "P": (3, counter("P", "[in_i]", "1/100")),
    "r": (3, None),
    "p": (3, None),
    "s": (3, None),
    "#": (3, None),
}
_UNKNOWN = frozenset(". ")


def identity(message: Message) -> str:
    """The callsign of the first packet."""
    return _packets(message)[0][0]


def _packets(message: Message) -> list[tuple[str, str]]:
    """(callsign, information field) of each packet. Raises MalformedUpload."""
    text = message.body.decode("latin-1").replace("\r", "\n").replace("\0", "")
    lines = [line.strip() for line in text.split("\n", 4 * MAX_LINES) if line.strip()]
    # The login of APRS-IS holds a passcode; lines with # are its servers' comments.
    packets = [line for line in lines if not line.startswith(("user ", "#"))]
    if any(len(line) > MAX_LINE_BYTES for line in packets[:MAX_LINES]):
        raise MalformedUpload(f"a line of more than {MAX_LINE_BYTES} bytes")
    matches = [_CALL.fullmatch(line) for line in packets[:MAX_LINES]]
    if not matches or None in matches:
        raise MalformedUpload("no APRS packet")
    return [(match[1], match[2]) for match in matches if match is not None]


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured, and what a wrong clock raises."""
    packets = _packets(arrival.message)
    if len({call for call, _ in packets}) > 1:
        raise MalformedUpload("packets of several stations")
    draft = arrival.draft(arrival.clock.now)
    for _, information in packets:
        _read_packet(draft, information, arrival)
    return draft.upload()


def _read_packet(draft: Draft, information: str, arrival: Arrival) -> None:
    kind, rest = information[:1], information[1:]
    if kind in ("@", "/"):
        at, rest = _stamp(rest[:7], arrival), rest[7:]
    elif kind == "_":
        at, rest = _month_stamp(rest[:8], arrival), rest[8:]
    elif kind in ("!", "="):
        at = arrival.clock.now
    else:
        raise MalformedUpload("no weather packet of APRS")
    draft.at = arrival.clock.check(at)
    _read_fields(draft, _read_wind(draft, kind, rest))


def _read_wind(draft: Draft, kind: str, rest: str) -> str:
    """Position and wind; returns what stands behind them. Raises MalformedUpload."""
    compressed = _COMPRESSED.match(rest) if kind != "_" else None
    if compressed is not None:
        _compressed_wind(draft, compressed[1], compressed[2])
        return rest[compressed.end() :]
    place = 0
    if kind != "_":
        position = _PLAIN.match(rest)
        if position is None:
            raise MalformedUpload("an APRS packet without the position of a weather station")
        place = position.end()
    wind = (_POSITIONLESS_WIND if kind == "_" else _WIND).match(rest, place)
    if wind is None:
        raise MalformedUpload("an APRS weather packet without its wind")
    _put(draft, _DIRECTION, wind[1])
    _put(draft, _SPEED, wind[2])
    return rest[wind.end() :]


def _compressed_wind(draft: Draft, course: str, speed: str) -> None:
    """Two characters: course in steps of 4°, speed as 1.08^s - 1 knots; a space for none."""
    if course in " {" or speed == " ":
        return
    put(draft, _DIRECTION, "direction", (ord(course) - 33) * 4)
    put(draft, _KNOTS, "speed", round(1.08 ** (ord(speed) - 33) - 1, 2))


def _read_fields(draft: Draft, rest: str) -> None:
    place = 0
    while place < len(rest) and (field := _FIELDS.get(rest[place])) is not None:
        width, item = field
        digits = rest[place + 1 : place + 1 + width]
        if len(digits) < width or not (set(digits) <= _UNKNOWN or _is_number(digits)):
            return  # the comment begins here
        if item is not None:
            _put(draft, item, digits)
        place += 1 + width


def _is_number(digits: str) -> bool:
    return digits.isascii() and digits.removeprefix("-").isdecimal()


def _put(draft: Draft, item: Rule, digits: str) -> None:
    if set(digits) <= _UNKNOWN:
        return
    value = int(digits)
    if item.name == "h" and value == 0:
        value = 100  # two digits have no room for it
    if item.name == "l":
        value += 1000
    put(draft, item, item.name, value)


def _stamp(text: str, arrival: Arrival) -> int:
    """DDHHMMz, DDHHMM/ (local time) or HHMMSSh: the newest such moment that is not ahead."""
    digits, zone = text[:6], text[6:]
    if not (digits.isascii() and digits.isdecimal()) or zone not in ("z", "/", "h"):
        raise MalformedUpload("an APRS packet without its time")
    parts = (int(digits[:2]), int(digits[2:4]), int(digits[4:]))
    local = arrival.profile.zone if zone == "/" else UTC
    latest = _latest(arrival).astimezone(local).replace(tzinfo=None)
    for back in range(_DAYS_BACK):
        day = latest - timedelta(days=back)
        moment = _at(day, (day.day, *parts)) if zone == "h" else _at(day, (*parts, 0))
        if moment is not None and moment <= latest:
            return local_instant(moment, local)
    raise MalformedUpload("an APRS packet of a time that no day has")


def _at(day: datetime, parts: tuple[int, int, int, int]) -> datetime | None:
    """The moment (day of month, hour, minute, second) if it is on this day."""
    number, hour, minute, second = parts
    if number != day.day or hour > 23 or minute > 59 or second > 59:
        return None
    return datetime(day.year, day.month, number, hour, minute, second)


def _month_stamp(text: str, arrival: Arrival) -> int:
    """MMDDHHMM in UTC, of this year or the last."""
    if len(text) != 8 or not (text.isascii() and text.isdecimal()):
        raise MalformedUpload("an APRS packet without its time")
    month, day, hour, minute = (int(text[i : i + 2]) for i in range(0, 8, 2))
    latest = _latest(arrival)
    for year in (latest.year, latest.year - 1):
        try:
            moment = datetime(year, month, day, hour, minute, tzinfo=UTC)
        except ValueError:  # 29 February, in one of the two years
            continue
        if moment <= latest:
            return int(moment.timestamp())
    raise MalformedUpload("an APRS packet of a time that no year has")


def _latest(arrival: Arrival) -> datetime:
    return datetime.fromtimestamp(arrival.clock.now + arrival.clock.ahead_s, UTC)
