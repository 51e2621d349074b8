"""Numbers as stations write them, and what stands for "no value"."""

import re
from fractions import Fraction

# At most 18 digits a side and two of exponent: an exponent of millions would make a number of
# megabytes from ten characters.
_DECIMAL = re.compile(r"[+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_LONGEST = 48
_WORDS = frozenset(
    ("", "-", "--", "---", "nan", "null", "none", "n/a", "na", "inf", "-inf", "unavailable")
)
# Weather Underground's clients (-9999), APRS and NOAA (-999, -9999.9), NREL (-7999), signed and
# unsigned 16-bit registers of sensors that did not answer, Dallas sensors off the wire (-127).
SENTINELS = frozenset(
    map(Fraction, ("-99.9", "-127", "-999", "-999.9", "-7999", "-9999", "-9999.9"))
) | frozenset(map(Fraction, (32767, -32768, 65535, 2147483647, -2147483648, 4294967295)))


class NoValue(ValueError):
    """The station says that it has no value."""


class NotANumber(ValueError):
    """A field that should hold a number holds something else."""


def number_of(raw: object) -> Fraction:
    """The exact number of a text or a JSON number. Raises NoValue, NotANumber."""
    text = _text(raw).strip()
    if text.lower() in _WORDS:
        raise NoValue
    if len(text) > _LONGEST or not _DECIMAL.fullmatch(text):
        raise NotANumber
    value = Fraction(text)
    if value in SENTINELS:
        raise NoValue
    return value


def _text(raw: object) -> str:
    """Raises NoValue, NotANumber."""
    if raw is None:
        raise NoValue
    if isinstance(raw, str):
        return raw
    # A bool is an int to Python; as a measurement it is a mistake.
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise NotANumber
    if isinstance(raw, int):
        return str(raw) if -(10**18) < raw < 10**18 else "x"
    return repr(raw)
