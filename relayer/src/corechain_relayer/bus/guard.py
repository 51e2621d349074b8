"""Which server the bus is on, and whether an acknowledgement may rest on it.

Every connection asks before it is used, so nothing reaches a server that was not asked: not the
first one, and not the one that a restart or a failover has put in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from corechain_relayer.errors import BusNotDurable, Shortfall

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

log = structlog.get_logger(__name__)

REQUIRED = {
    "appendonly": ("yes", "frames would live in memory only"),
    "appendfsync": ("always", "an append would be answered before it is on disk"),
    "no-appendfsync-on-rewrite": ("no", "nothing would be synced while the file is rewritten"),
    "maxmemory-policy": ("noeviction", "frames would be evicted when memory is short"),
}
"""Setting → the one value under which an answered append is on disk and stays, and why."""
UNKNOWN_RUN = "unknown"


class RefusedServer(RedisConnectionError):
    """Inside redis-py, BusNotDurable has to be an error of redis-py."""

    def __init__(self, cause: BusNotDurable) -> None:
        super().__init__(str(cause))
        self.cause = cause


def shortfalls(config: Mapping[str, str], role: str) -> list[Shortfall]:
    """What keeps a server from being a bus. `config`: those of REQUIRED that it answered."""
    wrong = [
        Shortfall(name, config[name], wanted, why)
        for name, (wanted, why) in REQUIRED.items()
        if name in config and config[name] != wanted
    ]
    if role not in ("master", ""):
        wrong.append(Shortfall("role", role, "master", "a replica takes no writes of its own"))
    return wrong


def _fields(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


@dataclass(slots=True)
class Guard:
    """Asks each new connection's server. `vouched`: the operator answers for its durability."""

    vouched: bool
    run: str | None = None
    """The run of the server that was asked last; None before the first."""
    fault: BusNotDurable | None = None
    """Why appends are refused now."""
    _told: str = ""

    async def on_connect(self, connection: "AbstractConnection") -> None:
        """redis-py calls it for every new connection. Raises RefusedServer."""
        await connection.on_connect()
        await self.inspect(connection)

    async def inspect(self, connection: "AbstractConnection") -> None:
        """Asks the server of a connection. Raises RefusedServer."""
        info = _fields(await _ask(connection, "INFO") or b"")
        config = {name: await _setting(connection, name) for name in REQUIRED}
        self.judge(config, info.get("role", ""))
        self.run = info.get("run_id", UNKNOWN_RUN)
        if self.fault is not None:
            raise RefusedServer(self.fault)

    def require(self) -> None:
        """Raises BusNotDurable when the server that was asked last is not fit."""
        if self.fault is not None:
            raise self.fault

    def judge(self, config: Mapping[str, str | None], role: str) -> None:
        """Keeps what is wrong as `fault`; a vouched server's faults are logged, not kept."""
        known = {name: value for name, value in config.items() if value is not None}
        unknown = sorted(config.keys() - known.keys())
        wrong = shortfalls(known, role)
        fault = BusNotDurable(wrong, unknown) if wrong or unknown else None
        self._tell(fault)
        self.fault = None if self.vouched else fault

    def _tell(self, fault: BusNotDurable | None) -> None:
        """Once, not at each of many connections."""
        told, self._told = self._told, "" if fault is None else str(fault)
        if fault is None or told == self._told:
            return
        if not self.vouched:
            log.error("bus refused", reason=str(fault))
        elif fault.wrong:
            log.error("bus is not durable, the operator vouches for it", reason=str(fault))
        else:
            log.warning("bus not checked, the operator vouches for it", reason=str(fault))


async def _ask(connection: "AbstractConnection", *words: str) -> Any:
    """The answer; None where the server forbids the question or does not know it."""
    await connection.send_command(*words)
    try:
        return await connection.read_response()
    except ResponseError as error:
        if str(error).startswith(("LOADING", "MASTERDOWN")):
            raise
        return None


async def _setting(connection: "AbstractConnection", name: str) -> str | None:
    # One by one: older servers take one name at a time.
    answer = await _ask(connection, "CONFIG", "GET", name)
    return answer[1].decode() if answer else None
