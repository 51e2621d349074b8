"""Of which state of the mirrored chain an answer is to be. Pure.

`min_block` and `after_tx` say what must be mirrored before the API answers (read your writes);
`finality` and `as_of` up to which block an answer may tell.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from corechain.protocol.errors import InvalidValue
from corechain.protocol.values import OctetsLike, octets, whole

MAX_BLOCK = 2**53 - 1
FINALITIES = ("pending", "safe", "finalised")


class Fresh(TypedDict, total=False):
    """`min_block`: answer once this block is mirrored; `after_tx`: once the block of this
    transaction is. An API that has to wait too long says NotMirrored."""

    min_block: int
    after_tx: OctetsLike


class View(Fresh, total=False):
    """`finality`: only what is at least so sure, "pending" (everything), "safe" or "finalised";
    `as_of`: as it was known at the end of this block."""

    finality: Literal["pending", "safe", "finalised"]
    as_of: int


def _block(name: str, value: object) -> int:
    return whole(name, value, 0, MAX_BLOCK)


def _finality(name: str, value: object) -> str:
    if not isinstance(value, str) or value not in FINALITIES:
        raise InvalidValue(name, value, f"takes one of {', '.join(FINALITIES)}")
    return value


def _hash(name: str, value: object) -> str:
    return "0x" + octets(name, value, 32).hex()


_CHECKS: Mapping[str, Any] = {
    "min_block": _block,
    "after_tx": _hash,
    "finality": _finality,
    "as_of": _block,
}


def view_params(view: Mapping[str, Any], kind: type = View) -> dict[str, str | int]:
    """Query parameters; what is None is not asked for. Raises InvalidValue, ValueOutOfRange."""
    for name in view:
        if name not in kind.__annotations__:
            raise InvalidValue(name, view[name], "is not a parameter of this question")
    return {name: _CHECKS[name](name, value) for name, value in view.items() if value is not None}
