"""Several chains side by side: a process each, so that what happens to one happens to it alone.

A folder has a file `NAME.env` for each chain, lines `INDEXER_…=value`. What the chains have in
common may stand in the environment of the command.
"""

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from corechain.protocol.errors import TransportError
from corechain.service.http_server import GRACE_S, stop_asked
from corechain.service.settings import InvalidSetting
from corechain.service.supervision import sessions, stop_all
from corechain.service.worker_processes import supervisor_gone, worker_command
from corechain_indexer.settings import PREFIX, Settings

log = structlog.get_logger(__name__)

STOP_LIMIT_S = 3 * GRACE_S + 5
"""A chain's process has workers of its own to stop first."""
OWN = ("DATABASE_URL", "HTTP_PORT", "OPS_PORT")
"""What two chains must not share. (Keys in Redis name the chain.)"""
FREE_PORT = "0"


class ChainEnded(TransportError):
    """The process of a chain ended, by itself or by a signal."""

    def __init__(self, chain: str, code: int) -> None:
        super().__init__(f"the indexer of {chain} ended with code {code}")
        self.chain, self.code = chain, code


@dataclass(slots=True)
class Chain:
    """One chain's indexer: `corechain indexer chain NAME`, with the environment of its file."""

    name: str
    environment: Mapping[str, str]
    arguments: Sequence[str] = ()
    process: asyncio.subprocess.Process | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def session(self) -> None:
        """One life of its process, to be supervised. Raises ChainEnded, OSError."""
        self.process = process = await asyncio.create_subprocess_exec(
            *worker_command("indexer", "chain", self.name, *self.arguments),
            # It lives as long as its standard input is open: no chain outlives the command.
            stdin=asyncio.subprocess.PIPE,
            env=self.environment,
            # Ctrl-C at the terminal is for the command: it stops the chains.
            start_new_session=True,
        )
        log.info("chain started", chain=self.name, pid=process.pid)
        try:
            code = await process.wait()
            if not self.stopping.is_set():
                raise ChainEnded(self.name, code)
        finally:
            if process.returncode is None:
                process.kill()

    async def stop(self) -> None:
        """Lets it finish what is under way; kills it when that takes too long."""
        self.stopping.set()
        process = self.process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT_S):
                await process.wait()


def _lines(path: Path) -> dict[str, str]:
    """The settings of a file, as `docker --env-file` reads them. Raises InvalidSetting."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{path.name} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            raise InvalidSetting(f"{path.name}, line {number}: not NAME=value")
        found[name.strip()] = value.strip()
    return found


def chains_in(folder: Path, common: Mapping[str, str] = os.environ) -> list[Chain]:
    """The chains of a folder, by the names of their files. Raises InvalidSetting."""
    if not folder.is_dir():
        raise InvalidSetting(f"{folder} is not a folder")
    files = sorted(folder.glob("*.env"))
    if not files:
        raise InvalidSetting(f"{folder} has no file NAME.env")
    found = [Chain(path.stem, {**common, **_lines(path)}) for path in files]
    for setting in OWN:
        _check_own(found, setting)
    return found


def _check_own(chains: Sequence[Chain], setting: str) -> None:
    default = Settings.model_fields[setting.lower()].default
    users: dict[str, str] = {}
    for chain in chains:
        # A file with the value (NAME_FILE) is not looked into: it is somewhere else for each.
        value = chain.environment.get(PREFIX + setting, str(default or ""))
        if value in ("", FREE_PORT) or value.startswith("PydanticUndefined"):
            continue
        if value in users:
            raise InvalidSetting(
                f"{users[value]} and {chain.name} have the same {PREFIX}{setting}: each chain "
                "needs its own"
            )
        users[value] = chain.name


async def run_chains(chains: Sequence[Chain]) -> None:
    """Runs all until a signal. One that ends is started again, after a pause that grows."""
    tasks = [asyncio.create_task(sessions(c.name, c.session, lambda: None)) for c in chains]
    try:
        await stop_asked(asyncio.Event())
        await asyncio.gather(*(chain.stop() for chain in chains))
    finally:
        await stop_all(tasks)
    log.info("stopped")


async def run_chain(name: str, main: Coroutine[Any, Any, None]) -> None:
    """In the process of a chain: `main` until a signal, or the end of who started it."""
    structlog.contextvars.bind_contextvars(chain=name)
    watching = asyncio.create_task(_stop_with_supervisor())
    try:
        await main
    finally:
        watching.cancel()


async def _stop_with_supervisor() -> None:
    await supervisor_gone()
    # As if it had been asked to stop: what is under way is finished.
    os.kill(os.getpid(), signal.SIGTERM)
