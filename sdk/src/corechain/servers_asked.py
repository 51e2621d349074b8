"""Servers that are not ours, asked how they are in their own words: a socket and no driver.

Sources: PostgreSQL's protocol ("SSL Session Encryption"), Patroni's REST API, etcd's `/health`,
the Redis protocol (`INFO`), Kafka's protocol (ApiVersions, Metadata version 1), MQTT 3.1.1
(sections 3.1 and 3.2).
"""

import http.client
import json
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from corechain.protocol.errors import TransportError

LIMIT_S = 3.0
MOST_BYTES = 1 << 20
"""Of an answer: a server that is something else may say anything."""
LAG_BYTES = 16 << 20
"""A replica that is further behind is said to lag: a WAL segment."""
_SSL_REQUEST = struct.pack(">ii", 8, 80877103)
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_METADATA = struct.pack(">ihhihi", 14, 3, 1, 2, -1, -1)
"""Length, key, version, correlation, no client id, all topics."""

_MQTT_CONNECT = bytes.fromhex("100c 0004 4d515454 04 02 003c 0000")
"""Version 3.1.1, a clean session, 60 s, no client id: nothing of it stays at the broker."""
_MQTT_CONNACK = 0x20


class NotAnswering(TransportError):
    """A server gives no answer that its kind gives."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a server is, in words; `is_well`: nothing of it needs an operator."""

    detail: str
    is_well: bool = True


def _get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read(MOST_BYTES))
    finally:
        connection.close()


def _talk(port: int, words: bytes, enough: Callable[[bytes], bool]) -> bytes:
    """What a server answers, up to where it is enough."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(words)
        said = b""
        while not enough(said):
            part = connection.recv(65_536)
            if not part or len(said) > MOST_BYTES:
                raise NotAnswering("it hangs up in the middle of its answer")
            said += part
    return said


def _speaks_postgres(port: int) -> Said:
    if _talk(port, _SSL_REQUEST, bool)[:1] not in (b"S", b"N"):
        raise NotAnswering("it does not speak Postgres's protocol")
    return Said("takes connections")


def _patroni(port: int) -> Said:
    own, members = _get(port, "/patroni"), _get(port, "/cluster")["members"]
    name = own["patroni"]["name"]
    mine = next(member for member in members if member["name"] == name)
    role, state = str(mine["role"]), str(mine["state"])
    # Of a member that is starting it is the word "unknown".
    lag = mine.get("lag", 0)
    behind = isinstance(lag, str) or lag > LAG_BYTES
    detail = f"{role}, {state}" + ("" if role == "leader" else f", lag {lag} bytes")
    detail += f", since {str(own.get('postmaster_start_time', '?'))[:19]}"
    leads = any(member["role"] == "leader" for member in members)
    detail += "" if leads else ", and there is NO LEADER"
    return Said(detail, leads and not behind and state in ("running", "streaming"))


def _etcd(port: int) -> Said:
    if str(_get(port, "/health").get("health")) != "true":
        raise NotAnswering("no quorum")
    return Said("healthy")


def _is_whole_bulk(said: bytes) -> bool:
    """`$length`, and so many bytes; an error is one line."""
    head, ends, rest = said.partition(b"\r\n")
    return bool(ends) and (head[:1] != b"$" or len(rest) >= int(head[1:]) + 2)


def _valkey(port: int) -> Said:
    """Also while it loads: then it answers an error, which says so."""
    whole = _talk(port, b"INFO\r\n", _is_whole_bulk)
    if not whole.startswith(b"$"):
        raise NotAnswering(f"it says {whole[1:80].decode(errors='replace').strip()!r}")
    lines = (line.partition(b":") for line in whole.splitlines())
    facts = {name.decode(): value.decode() for name, _, value in lines}
    role = facts.get("role", "?")
    if role == "master":
        detail = f"master, {facts.get('connected_slaves', 0)} replicas"
        return Said(f"{detail}, up {facts.get('uptime_in_seconds')} s")
    linked = facts.get("master_link_status") == "up"
    return Said(f"replica, link {'up' if linked else 'DOWN'}", linked)


def _framed(said: bytes) -> bool:
    return len(said) >= 4 and len(said) >= 4 + int.from_bytes(said[:4], "big")


class _Reader:
    """Kafka's types, one behind the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, size: int) -> int:
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big", signed=True)

    def text(self) -> str:
        size = max(0, self.number(2))
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def numbers(self) -> list[int]:
        return [self.number(4) for _ in range(self.number(4))]


def partitions_of(answer: bytes) -> tuple[int, int, int]:
    """(brokers, partitions, partitions with fewer copies in time than they have). `answer`: of
    Metadata version 1, without its length."""
    read = _Reader(answer)
    read.number(4)  # the correlation
    brokers = read.number(4)
    for _ in range(brokers):
        read.number(4)
        read.text()
        read.number(4)
        read.text()  # the rack
    read.number(4)  # the controller
    total = short = 0
    for _ in range(read.number(4)):
        read.number(2)
        read.text()
        read.number(1)  # whether it is Kafka's own
        for _ in range(read.number(4)):
            read.number(2 + 4 + 4)  # error, number, leader
            copies, in_time = read.numbers(), read.numbers()
            total, short = total + 1, short + (len(in_time) < len(copies))
    return brokers, total, short


def _kafka(port: int) -> Said:
    _talk(port, _API_VERSIONS, _framed)
    brokers, total, short = partitions_of(_talk(port, _METADATA, _framed)[4:])
    return Said(f"{brokers} brokers, {short} of {total} partitions under-replicated", not short)


def _mqtt(port: int) -> Said:
    said = _talk(port, _MQTT_CONNECT, lambda said: len(said) >= 4)
    if said[0] != _MQTT_CONNACK:
        raise NotAnswering("it does not speak MQTT")
    # Who refuses strangers works: the relayer has a password, or a certificate.
    return Said("takes connections" if said[3] == 0 else f"answers, refuses strangers ({said[3]})")


def _http(port: int) -> Said:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status >= 500:
        raise NotAnswering(f"HTTP {status}: no backend answers")
    return Said(f"/health answers {status}")


KINDS: Mapping[str, Callable[[int], Said]] = {
    "postgres": _speaks_postgres,
    "patroni": _patroni,
    "etcd": _etcd,
    "pgbouncer": _speaks_postgres,
    "valkey": _valkey,
    "kafka": _kafka,
    "mqtt": _mqtt,
    "nginx": _http,
    "influxdb": _http,
}


def ask(kind: str, port: int) -> Said:
    """How a server of this machine is. Raises NotAnswering."""
    try:
        return KINDS[kind](port)
    except (OSError, http.client.HTTPException) as error:
        raise NotAnswering(f"no answer ({type(error).__name__})") from error
    except (ValueError, LookupError, TypeError, StopIteration) as error:
        raise NotAnswering(f"an answer that is no {kind}'s ({type(error).__name__})") from error
