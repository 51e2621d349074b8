"""A real HTTP server that answers what a script says, over kept connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Script = Callable[[int, bytes], bytes | None]
"""The raw answer to a request, by its number from 0 and its body; None hangs up, and so does an
answer with `connection: close` behind itself."""


@dataclass(slots=True)
class ScriptedServer:
    """Remembers the bodies it got, and how many connections were opened."""

    script: Script
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = (
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        body = await reader.readexactly(length)
        self.bodies.append(body)
        said = self.script(len(self.bodies) - 1, body)
        if said is None:
            return False
        writer.write(said)
        await writer.drain()
        return b"connection: close" not in said


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/reports"
    async with listening:
        yield server


def answer(status: int, document: object, **headers: str) -> bytes:
    """A raw answer; header names with underscores for hyphens."""
    body = json.dumps(document, separators=(",", ":")).encode()
    lines = [f"HTTP/1.1 {status} Words", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
