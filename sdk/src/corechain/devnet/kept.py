"""Becomes another program, and leaves somebody behind who kills it when its owner dies.

    python -I -S kept.py <pid of the owner> <program> <arguments …>

For a program that is not our child: Patroni starts Postgres so that Postgres outlives Patroni, as
it should. guard.py's request to the kernel would end it as soon as Patroni's helper has ended.
"""

import os
import select
import signal
import sys
from contextlib import suppress


def watch(owner: int, kept: int) -> None:
    """Returns when either has ended; the kept one has, then."""
    try:
        ours = os.pidfd_open(owner)
    except ProcessLookupError:
        os.kill(kept, signal.SIGKILL)
        return
    waiting = select.poll()
    for handle in (ours, os.pidfd_open(kept)):
        waiting.register(handle, select.POLLIN)
    ended = {handle for handle, _ in waiting.poll()}
    if ours in ended:
        with suppress(ProcessLookupError):
            os.kill(kept, signal.SIGKILL)


def main(arguments: list[str]) -> None:
    owner, command = int(arguments[0]), arguments[1:]
    kept = os.getpid()
    if os.fork() == 0:
        # A session of its own, and none of the files: who reads a pipe of the program's to its end
        # would wait for the watcher too.
        os.setsid()
        os.closerange(0, 1_024)
        watch(owner, kept)
        os._exit(0)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
