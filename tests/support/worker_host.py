"""Collects the tests, then forks itself for each process that pytest-xdist starts.

    python -P worker_host.py SOCKET WORDS…     (pytest's words; support.workers starts it)

A process imports and collects for six seconds of CPU. One that is forked has all modules: for it to
collect takes a quarter of that. Assertions of changed modules are rewritten once for all.
"""

import gc
import os
import signal
import socket
import sys
from types import ModuleType

import pytest

from corechain.devnet.guard import die_with

FOUR_KIB = 4096


def become(pipes: list[int], host: int) -> None:
    """A process with these pipes, as it would have been started."""
    die_with(host)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    sys.argv = ["-c"]


def nobody() -> ModuleType:
    """The main module of `python -c`: multiprocessing loads that of its parent in each process that
    it starts, where it has a file, and with ours all of pytest."""
    module = sys.modules["__main__"] = ModuleType("__main__")
    return module


def main(place: str, words: list[str]) -> None:
    die_with(os.getppid())
    ready = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # What cannot be collected each process says for itself.
    pytest.main([*words, "-n0", "--collect-only", "-q"])
    gc.freeze()
    host = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    # Ctrl-C is for the tests: with this process they would be killed, their servers still up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        os.write(ready, b"ready\n")
        while True:
            connection, _ = server.accept()
            line, pipes, _, _ = socket.recv_fds(connection, FOUR_KIB, 3)
            if os.fork() == 0:
                server.close()
                become(pipes, host)
                # The connection ends with this process, not before: support.worker waits for that.
                exec(line, vars(nobody()) | {"connection": connection})
                return
            for number in (connection.detach(), *pipes):
                os.close(number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
