"""Why a server could not be asked, in words that anybody may read: never where it is.

They go into `/ready`, problem details and alerts. Who runs the service knows the address from the
settings; at hosted providers the host name itself can be the key.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterator

_PLACE = re.compile(r"""://|:\d{2,5}\b|\d+\.\d+\.\d+\.\d+|\('|['" ]/\w""")
"""A URL, a port, an IPv4 address, a pair (host, port) or a path: libraries word it their ways."""
_LONGEST_CHAIN = 8


def reason_of(error: BaseException) -> str:
    """The name of the failure with its text; where the text names a place, with what the operating
    system says instead, if that is behind it."""
    name, text = type(error).__name__, str(error)
    if _PLACE.search(text):
        text = next(filter(None, map(_said, _chain(error))), "")
    return f"{name}: {text}" if text else name


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_LONGEST_CHAIN):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _said(error: BaseException) -> str:
    # Not `strerror` of an OSError in general: asyncio writes the address into it.
    if isinstance(error, ssl.SSLError):
        return getattr(error, "reason", None) or ""  # only where OpenSSL made it
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return ""
