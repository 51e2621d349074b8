"""A server for CWOP stations: most of them speak APRS-IS over TCP and nothing else.

A banner, a login line ("user CALL pass CODE vers …"), packets, one a line
(aprs-is.net/Connecting.aspx). The protocol knows no acknowledgement, and CWOP's passcode is -1 for
everybody: whoever reaches the port can speak for a callsign. Hence off by default.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import ProtocolError
from corechain.service.http_server import Listener
from corechain_relayer.bridge.errors import places_of
from corechain_relayer.bridge.formats.cwop import MAX_LINE_BYTES
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Message
from corechain_relayer.bridge.intake import Intake

log = structlog.get_logger(__name__)

MAX_CONNECTIONS, MAX_PACKETS = 256, 64
"""At a time; of one connection. A station opens one every five minutes, for one packet."""
SILENT_S = 60.0
CWOP = FORMATS["cwop"]


@dataclass(slots=True)
class AprsServer:
    """At a socket that listens already, and goes on to do so between two sessions."""

    intake: Intake
    listener: Listener
    silent_s: float = SILENT_S
    _open: int = field(default=0, init=False)

    async def serve_forever(self) -> None:
        # A copy: the server closes what it has, and the next session needs the port again.
        server = await asyncio.start_server(
            self._connected, sock=self.listener.dup(), limit=MAX_LINE_BYTES
        )
        async with server:
            log.info("serving APRS-IS", port=self.listener.getsockname()[1])
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                await self._talk(reader, writer)
            else:
                self.intake.metrics.refused.labels(CWOP.name, "Overloaded").inc()
        # Silence, a line without an end, a connection that breaks: nothing was promised.
        except (TimeoutError, ValueError, OSError):
            self.intake.metrics.refused.labels(CWOP.name, "BrokenConnection").inc()
        except Exception as error:  # a mistake of ours, with this packet
            self.intake.metrics.refused.labels(CWOP.name, "Internal").inc()
            log.error("packet failed", kind=type(error).__name__, trace=places_of(error))
        finally:
            self._open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"# corechain bridge\r\n")
        for _ in range(MAX_PACKETS):
            async with asyncio.timeout(self.silent_s):
                line = await reader.readline()
            if not line:
                return
            if line.startswith(b"user "):
                # Never the passcode: the callsign alone is repeated.
                call = line.split()[1][:16] if len(line.split()) > 1 else b""
                writer.write(b"# logresp %s unverified, server CORECHAIN\r\n" % call)
            elif line.strip() and not line.startswith(b"#"):
                await self._packet(line)

    async def _packet(self, line: bytes) -> None:
        try:
            await self.intake.packet(CWOP, Message(line))
        except ProtocolError as error:
            self.intake.refused(CWOP.name, error)
