"""Stands for a process of pytest-xdist: one that support.worker_host forks has its pipes.

python worker.py SOCKET -u -c LINE     (what xdist runs instead of `python -u -c LINE`)
"""

import os
import signal
import socket
import sys


def main(place: str, line: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(place)
        socket.send_fds(host, [line.encode()], [0, 1, 2])
        # The pipes must be closed as soon as the other process ends, so not be held here.
        for number in (0, 1):
            os.close(number)
        host.recv(1)  # nothing: the other process has ended


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[-1])
