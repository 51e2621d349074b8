"""What a node is called: by its number where anybody may read it, and by a place that holds no
secret where its operator does."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

PRIVATE = (".local", ".internal", ".lan", ".svc")
"""Ends of names that are nobody's product: their first parts are no keys of anybody."""
SHOWN_LABELS = 2
"""Of a public name: what is before them may be a key (https://KEY.eth.rpc.provider.example)."""


def place_of(url: str) -> str:
    """Host and port of a node's address, without its path, query, user, and what of the name may be
    a key."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{_shown(host)}{port}"


def _shown(host: str) -> str:
    labels = host.split(".")
    if len(labels) <= SHOWN_LABELS or host.endswith(PRIVATE) or _is_number(host):
        return host
    return "…" + ".".join(labels[-SHOWN_LABELS:])


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def listed(numbers: Iterable[int]) -> str:
    """Of one node or several: `1, 2`."""
    return ", ".join(str(number) for number in sorted(numbers))


def legend_of(places: Mapping[int, str]) -> str:
    """Which node is which."""
    return ", ".join(f"node {number} is {place}" for number, place in sorted(places.items()))
