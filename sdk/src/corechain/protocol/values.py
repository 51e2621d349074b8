"""The values that users give: in any usual form, as the one form that the protocol has. Pure.

Bytes and hex, whole numbers of any library, seconds and datetimes, cells and degrees. Whatever is
something else raises InvalidValue or ValueOutOfRange, which name the parameter, what was given and
what is right. No library is imported for its types: they are known by what they can do.
"""

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from corechain.protocol.cells import is_cell
from corechain.protocol.errors import InvalidCell, InvalidValue, ValueOutOfRange
from corechain.protocol.hashing import keccak

T = TypeVar("T")
OctetsLike = bytes | str
"""Bytes, or hex digits as the API writes them."""
CellLike = int | str | Sequence[float]
"""An H3 cell: number, hex digits, or (latitude, longitude) in degrees."""
TimeLike = int | datetime
"""Seconds since 1970 UTC, or a datetime with a time zone."""
U16_MAX, U32_MAX, U40_MAX, U48_MAX, U64_MAX = (2**bits - 1 for bits in (16, 32, 40, 48, 64))
U128_MAX, U256_MAX = 2**128 - 1, 2**256 - 1
_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]*)", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,78}", re.ASCII)
_CELL = re.compile(r"(?:0[xX])?([0-9a-fA-F]{15,16})", re.ASCII)


def octets(parameter: str, value: object, size: int) -> bytes:
    """Bytes of one size, from bytes or hex digits (with or without 0x). Raises InvalidValue."""
    found: bytes | None = None
    if isinstance(value, bytes | bytearray | memoryview):
        found = bytes(value)
    elif isinstance(value, str):
        digits = _HEX.fullmatch(value)
        if digits is not None and len(digits[1]) == 2 * size:
            found = bytes.fromhex(digits[1])
    if found is None or len(found) != size:
        raise InvalidValue(parameter, value, f"takes {size} bytes, or 0x and {2 * size} hex digits")
    return found


def address(parameter: str, value: object) -> bytes:
    """20 bytes: a device, an owner, a contract. In a text of large and small letters the large ones
    are a checksum (EIP-55), by which a slip is noticed. Raises InvalidValue."""
    found = octets(parameter, value, 20)
    if isinstance(value, str) and not _is_checked(value[-40:]):
        right = "is 0x and 40 hex digits; their capitals are no checksum of them, one is wrong"
        raise InvalidValue(parameter, value, right)
    return found


def _is_checked(digits: str) -> bool:
    small = digits.lower()
    if digits in (small, digits.upper()):
        return True
    marks = keccak(small.encode()).hex()
    return all(
        a == (b.upper() if m > "7" else b) for a, b, m in zip(digits, small, marks, strict=False)
    )


def whole(parameter: str, value: object, low: int, high: int) -> int:
    """A whole number in [low, high]: an integer of any library, a decimal string (as the API gives
    amounts), or a float without a fraction. Raises InvalidValue, ValueOutOfRange."""
    found = integer(value)
    if found is None:
        raise InvalidValue(parameter, value, f"takes a whole number from {low} to {high}")
    if not low <= found <= high:
        raise ValueOutOfRange(parameter, value, f"it is a whole number from {low} to {high}")
    return found


def integer(value: object) -> int | None:
    """The integer that a value is; None when it is none."""
    # A bool is an int to Python; as a number it is a mistake.
    if type(value) is int:
        return value
    if isinstance(value, bool | bytes | bytearray):
        return None
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    try:
        if hasattr(value, "__index__"):
            return operator.index(value)
        found = int(value) if hasattr(value, "__float__") else None  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):  # infinity, NaN, an array
        return None
    return found if found == value else None


def _float(value: object) -> float | None:
    """A finite number of any library, no text; None for others."""
    if isinstance(value, bool | str | bytes | bytearray) or not hasattr(value, "__float__"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def number(parameter: str, value: object) -> float:
    """A finite number. Raises InvalidValue."""
    found = _float(value)
    if found is None:
        raise InvalidValue(parameter, value, "takes a finite number")
    return found


def seconds(parameter: str, value: object) -> int:
    """Seconds since 1970 UTC: a whole number, or an aware datetime (pandas' Timestamp is one);
    fractions of a second are cut. Raises InvalidValue, ValueOutOfRange."""
    if isinstance(value, datetime):
        return whole(parameter, _timestamp(parameter, value), 0, U40_MAX)
    if hasattr(value, "astype") and hasattr(value, "dtype") and _is_datetime64(value):
        right = "numpy.datetime64 has no time zone; give pandas.Timestamp(…, tz='UTC')"
        raise InvalidValue(parameter, value, right)
    if integer(value) is None:
        right = "takes whole seconds since 1970 (UTC), or a datetime with a time zone"
        raise InvalidValue(parameter, value, right)
    return whole(parameter, value, 0, U40_MAX)


def _is_datetime64(value: Any) -> bool:
    return getattr(value.dtype, "kind", None) == "M"


def _timestamp(parameter: str, value: datetime) -> int:
    try:
        offset = value.utcoffset()
        if offset is not None:
            return math.floor(value.timestamp())
    except (ValueError, OverflowError, TypeError):  # pandas' NaT is a datetime that has no time
        pass
    right = "a datetime without a time zone could be any hour; give it one, as tzinfo=UTC"
    raise InvalidValue(parameter, value, right)


def cell_index(parameter: str, value: object) -> int:
    """An H3 cell: its 64 bits, or its hex digits as the API writes them. Raises InvalidValue,
    InvalidCell."""
    if isinstance(value, str):
        digits = _CELL.fullmatch(value)
        if digits is None:
            raise InvalidValue(parameter, value, "takes an H3 cell: 15 hex digits, or a number")
        found = int(digits[1], 16)
    else:
        found = whole(parameter, value, 0, U64_MAX)
    if not is_cell(found):
        raise InvalidCell(found)
    return found


def items(parameter: str, value: object, kind: type[T], right: str) -> list[T]:
    """A list of one kind of thing. Raises InvalidValue, which names the first that is another."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | bytearray):
        raise InvalidValue(parameter, value, right)
    found = list(value)
    for index, item in enumerate(found):
        if not isinstance(item, kind):
            raise InvalidValue(f"{parameter}[{index}]", item, right)
    return found


def mapping(parameter: str, value: object, right: str) -> Mapping[Any, Any]:
    """A mapping. Raises InvalidValue."""
    if not isinstance(value, Mapping):
        raise InvalidValue(parameter, value, right)
    return value


def one_of(parameter: str, value: Any, kind: type[T], right: str) -> T:
    """A thing of a kind. Raises InvalidValue."""
    if not isinstance(value, kind):
        raise InvalidValue(parameter, value, right)
    return value
