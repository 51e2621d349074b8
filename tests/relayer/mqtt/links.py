"""Connections to a broker alone, without a gateway behind them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from corechain_relayer.mqtt.broker import broker_of
from corechain_relayer.mqtt.flow import Held
from corechain_relayer.mqtt.link import Link
from corechain_relayer.mqtt.packets import Opening, Version


def opening(version: Version = Version.V5, **changes: Any) -> Opening:
    return replace(Opening(version, "test-link", 60, 3600, 10), **changes)


def link_to(url: str, opening: Opening, found: list[Held], *files: Path | None) -> Link:
    """Puts what comes into `found`, and acknowledges nothing."""
    limits = (1 << 20, 1 << 20)
    broker = broker_of(url, "", *files)
    return Link(broker, opening, *limits, lambda link, messages: found.extend(messages))


@asynccontextmanager
async def linked(
    url: str, opening: Opening, filters: Sequence[str], *files: Path | None
) -> AsyncIterator[list[Held]]:
    """The messages that a connection has got so far, while it is open. `files`: the certificates
    that we trust, and our own."""
    found: list[Held] = []
    link = link_to(url, opening, found, *files)
    try:
        await link.open(filters)
        yield found
    finally:
        await link.close()


@dataclass
class ScriptedBroker:
    """A server that says what a test wants, packet by packet: `script` gets the number of the
    packet that came, from 0, and returns what to say; None hangs up."""

    script: Callable[[int], bytes | None]
    heard: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        try:
            while data := await reader.read(1 << 16):
                self.heard += data
                answer = self.script(number)
                number += 1
                if answer is None:
                    break
                writer.write(answer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def scripted(
    script: Callable[[int], bytes | None], heard: bytearray | None = None
) -> AsyncIterator[str]:
    """Its URL. What it hears is added to `heard`."""
    broker = ScriptedBroker(script, bytearray() if heard is None else heard)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with server:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await broker.ended.wait()
