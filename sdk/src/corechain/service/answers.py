"""A node's answer as far as it is read at once: the logs of a range stay JSON until they are.

They are most of what a backfill receives. Read as whatever JSON can be, and then checked, a log
takes several times as long as when its form is known beforehand.
"""

from typing import Any

import msgspec

from corechain.rpc_limits import LOGS_METHOD
from corechain.service.words import read_json

__all__ = ["LOGS_METHOD", "result_of", "unread_answer"]

_ABSENT, _NULL = msgspec.Raw(b""), msgspec.Raw(b"null")


class _Envelope(msgspec.Struct):
    """A JSON-RPC response (JSON-RPC 2.0, section 5), judged by whoever asked."""

    id: Any = None
    result: msgspec.Raw = _ABSENT
    error: Any = None


_envelopes = msgspec.json.Decoder(_Envelope | list[_Envelope]).decode


def unread_answer(content: bytes | bytearray) -> Any:
    """An answer or a list of them as dicts, whose results are msgspec.Raw; what has another form is
    decoded as a whole. Raises msgspec.DecodeError, UnicodeDecodeError, RecursionError."""
    # What is passed over is not looked at: bytes that are no UTF-8 would go unseen there.
    if not content.isascii():
        return msgspec.json.decode(content)
    try:
        found = _envelopes(content)
    except msgspec.ValidationError:
        return msgspec.json.decode(content)
    return list(map(_fields, found)) if isinstance(found, list) else _fields(found)


def _fields(found: _Envelope) -> dict[str, Any]:
    fields = {"id": found.id, "error": found.error}
    return fields if found.result is _ABSENT else fields | {"result": found.result}


def result_of(method: str, raw: Any) -> Any:
    """A result as its caller gets it: read, but for logs. Raises NodeUnavailable."""
    if not isinstance(raw, msgspec.Raw):
        return raw
    if method == LOGS_METHOD and raw != _NULL:
        return raw
    return read_json(raw, f"results of {method}")
