"""Servers that are half dead: their processes stand still (SIGSTOP). Connections stay open, the
system takes new ones for them, and nobody answers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

from corechain.devnet.patroni import PatroniServer
from corechain.devnet.servers import Server


def processes_of(server: Server) -> list[psutil.Process]:
    """With all that they have started; of a member of Patroni its Postgres, too."""
    owner = server._owner() if isinstance(server, PatroniServer) else None
    roots = [psutil.Process(server.pid), *filter(None, [owner])]
    return [one for root in roots for one in (root, *root.children(recursive=True))]


@contextmanager
def frozen(*servers: Server) -> Iterator[None]:
    """They go on at the end as if no time had passed."""
    with ExitStack() as stack:
        for one in (one for server in servers for one in processes_of(server)):
            with suppress(psutil.NoSuchProcess):
                one.suspend()
                stack.callback(_go_on, one)
        yield


def _go_on(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.resume()
