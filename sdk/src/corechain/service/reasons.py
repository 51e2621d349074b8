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
_ADDRESS = re.compile(
    r"""[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]+"""  # a URL
    r"""|\[[0-9A-Fa-f:]+\](:\d+)?|\b\d+\.\d+\.\d+\.\d+(:\d+)?"""  # an IP address
    r"""|\b[A-Za-z][\w-]*(\.[\w-]+)*:\d{2,5}\b"""  # host:port
    r"""|\b[\w-]+(\.[\w-]+)*\.(local|internal|lan|cluster|svc|example|com|net|org|io)\b"""
)
"""What may be an address inside of another server's sentence; a time (12:30) is none."""
_LONGEST_CHAIN = 8


def reason_of(error: BaseException) -> str:
    """The name of the failure with its text; where the text names a place, with what the operating
    system says instead, if that is behind it."""
    name, text = type(error).__name__, str(error)
    if _PLACE.search(text):
        text = next(filter(None, map(_said, chain_of(error))), "")
    return f"{name}: {text}" if text else name


def legible(text: str) -> str:
    """Another server's or contract's sentence as one line that can be shown and kept: a NUL in it,
    which Postgres refuses, would end whoever writes down why something waits."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def without_addresses(text: str) -> str:
    """Another server's sentence, with what may be an address of somebody left out."""
    return _ADDRESS.sub("(an address)", text)


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what is behind it."""
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
