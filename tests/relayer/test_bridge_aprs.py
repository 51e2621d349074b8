"""CWOP stations on a socket: what they send, and what a stranger may try."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs
from support.processes import PATIENCE_S

from corechain.protocol.reading import unpack_report
from corechain.service.http_server import bind
from corechain.service.settings import InvalidSetting
from corechain.service.supervision import stop_all
from corechain_relayer.bridge.aprs_is import MAX_CONNECTIONS, AprsServer
from corechain_relayer.bridge.service import aprs_listener, run
from relayer.bridges import Stage

WEATHER = "4220.45N/07128.59W_032/005g008t054r001p078P048h50b10245e1w"


@pytest.fixture
async def stage(tmp_path):
    found = Stage.at(tmp_path)
    found.station("roof", "cwop", identity="CW0003")
    yield found
    await found.bridge.close()


@asynccontextmanager
async def served(stage, **options):
    """The port of a server."""
    with bind("X_", "127.0.0.1", 0) as listener:
        listener.claim()
        server = AprsServer(stage.bridge.intake, listener, **options)
        serving = asyncio.create_task(server.serve_forever())
        yield listener.getsockname()[1]
        await stop_all([serving])


def packet(call="CW0003", ago_s=0):
    stamp = time.strftime("%d%H%M", time.gmtime(time.time() - ago_s))
    return f"{call}>APRS,TCPIP*:@{stamp}z{WEATHER}\r\n".encode()


async def said(port, *lines):
    """Everything that the server said until it closed the connection, or we did."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(lines))
        writer.write_eof()
        try:
            return await reader.read()
        except ConnectionError:  # closed before it had read all
            return b""
        finally:
            writer.close()


def queued(stage):
    return [unpack_report(item.report)[0].report for item in stage.bridge.store.head(100)]


async def test_a_station_logs_in_sends_and_hangs_up(stage):
    async with served(stage) as port:
        answer = await said(port, b"user CW0003 pass -1 vers weewx 5.1\r\n", packet())
    banner, response = answer.splitlines()
    assert banner.startswith(b"# ")
    assert response == b"# logresp CW0003 unverified, server CORECHAIN"
    (report,) = queued(stage)
    assert {one.metric: one.value for one in report.observations()}[1] == 1222


async def test_strangers_and_nonsense_are_refused_by_name_and_the_next_packet_is_taken(stage):
    lines = (
        b"# comment\r\n",
        b"\r\n",
        b"user\r\n",
        packet("CW9999"),
        b"\xff\x00nonsense\r\n",
        packet(ago_s=9 * 86_400),
        packet(),
    )
    with capture_logs() as logs:
        async with served(stage) as port:
            await said(port, b"user CW0003 pass 12345 vers x\r\n", *lines)
    assert len(queued(stage)) == 1
    for name in ("UnknownStation", "MalformedUpload", "TimestampTooOld"):
        assert f'format="cwop",reason="{name}"' in stage.metrics()
    assert "12345" not in repr(logs)


async def test_a_station_without_an_identity_is_not_found_by_its_callsign(stage):
    stage.station("other", "cwop")
    async with served(stage) as port:
        await said(port, packet("CW0004"))
    assert queued(stage) == []


@pytest.mark.parametrize("line", [b"x" * 5_000, b"CW0003>" + b"A" * 600 + b"\r\n"])
async def test_a_line_that_is_too_long_ends_the_connection(stage, line):
    async with served(stage) as port:
        await said(port, line, packet())
    assert queued(stage) == []
    assert 'reason="BrokenConnection"' in stage.metrics()


async def test_a_mistake_of_ours_is_counted_and_quotes_nobody(stage, monkeypatch):
    monkeypatch.setattr(stage.bridge.intake.store, "identified", None)
    with capture_logs() as logs:
        async with served(stage) as port:
            await said(port, packet())
    assert 'reason="Internal"} 1.0' in stage.metrics()
    assert [line["kind"] for line in logs if line["event"] == "packet failed"] == ["TypeError"]


async def test_a_silent_connection_is_closed(stage):
    async with served(stage, silent_s=0.05) as port, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"# corechain bridge\r\n"
        writer.close()


async def test_more_connections_than_its_places_are_closed_at_once(stage):
    async with served(stage) as port, asyncio.timeout(PATIENCE_S):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        for reader, _ in held:
            assert await reader.readline() == b"# corechain bridge\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        assert 'reason="Overloaded"} 1.0' in stage.metrics()
        for _, one in [*held, (reader, writer)]:
            one.close()


async def test_a_port_that_is_taken_ends_the_bridge_and_is_named(stage):
    with bind("X_", "127.0.0.1", 0) as other:
        other.claim()
        port = other.getsockname()[1]
        own = {"aprs_port": port, "http_port": 0, "data_dir": stage.bridge.settings.data_dir / "b"}
        settings = stage.bridge.settings.model_copy(update=own)
        with pytest.raises(InvalidSetting, match=f"BRIDGE_APRS_PORT: .*:{port} cannot be used"):
            await run(settings, stage.bridge.deployment)


async def test_the_bridge_serves_at_its_port_for_aprs(stage):
    settings = stage.bridge.settings.model_copy(update={"aprs_port": 0})
    with aprs_listener(settings) as stage.bridge.aprs:
        loops = [asyncio.create_task(loop) for loop in stage.bridge.loops()]
        assert b"# corechain bridge" in await said(stage.bridge.aprs.getsockname()[1])
        await stop_all(loops)
