"""A port that another process has is never passed over in silence.

given two processes that start at once, with one port for both
  when the second comes to serve at it, on any event loop
    it ends, and names the setting; the first serves on
given a port that another process listens at
  when a service is started with it
    it exits with 2, and its last line names port and setting
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from service.test_quiet_refusals import INDEXER, RELAYER
from starlette.applications import Starlette
from support.command import PROGRAM
from support.forked import completed
from support.processes import PATIENCE_S

from corechain.service.command import new_event_loop
from corechain.service.http_server import Listener, also_served, bind, http_server, require_unserved
from corechain.service.settings import InvalidSetting

LOOPS = {"asyncio": asyncio.new_event_loop, "ours": new_event_loop}


@asynccontextmanager
async def served(listener: Listener) -> AsyncIterator[None]:
    """As the public port is."""
    server = http_server(Starlette(), 10, 5)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        yield
        server.should_exit = True
        await serving


async def second_of_two(names: str) -> str:
    """What the second of two says that have bound the port before either served at it."""
    first = bind("X_", "127.0.0.1", 0, names)
    with first, bind("X_", *first.getsockname(), names) as second:
        serve = served if names == "HTTP" else lambda one: also_served(Starlette(), one)
        async with asyncio.timeout(PATIENCE_S), serve(first):
            with pytest.raises((InvalidSetting, ExceptionGroup)) as raised:
                async with serve(second):
                    pass
            socket.create_connection(first.getsockname()).close()
            error = raised.value
            return str(error.exceptions[0] if isinstance(error, ExceptionGroup) else error)


@pytest.mark.parametrize("names", ["HTTP", "OPS"])
@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
def test_of_two_that_start_at_once_the_second_ends(
    names: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        said = runner.run(second_of_two(names))
    assert f"X_{names}_PORT: 127.0.0.1:" in said
    assert said.endswith("cannot be used: Address already in use")


def test_those_that_share_a_port_listen_side_by_side() -> None:
    first = bind("X_", "127.0.0.1", 0, shared=True)
    with first, bind("X_", *first.getsockname(), shared=True) as second:
        first.claim()
        second.claim()


def test_a_port_that_somebody_serves_is_not_shared_with_him() -> None:
    """Else the kernel would give him a part of our clients, and us of his."""
    with bind("X_", "127.0.0.1", 0, shared=True) as other:
        host, port = other.getsockname()
        require_unserved("X_", host, port)
        other.claim()
        with pytest.raises(InvalidSetting, match=r"X_HTTP_PORT: .* Address already in use"):
            require_unserved("X_", host, port)
    require_unserved("X_", host, port)


@pytest.mark.parametrize(
    ("service", "settings"),
    [("relayer", RELAYER), ("indexer", INDEXER)],
    ids=["relayer", "indexer"],
)
def test_a_service_whose_ops_port_is_taken_exits_and_names_it(
    deployment: Path, tmp_path: Path, service: str, settings: dict[str, str]
) -> None:
    prefix = service.upper()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ours = {f"{prefix}_OPS_PORT": str(port), f"{prefix}_HTTP_HOST": "127.0.0.1"}
        ours[f"{prefix}_DEPLOYMENT"] = str(deployment)
        role = []
        if service == "relayer":
            role, ours["RELAYER_DATA_DIR"] = ["--role", "gateway"], str(tmp_path)
        done = completed(PROGRAM, [service, "run", *role], os.environ | settings | ours)
    assert done.returncode == 2, done.stderr
    sentence = f"{prefix}_OPS_PORT: 127.0.0.1:{port} cannot be used: Address already in use"
    assert done.stderr.splitlines()[-1].endswith(sentence)
