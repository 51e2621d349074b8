"""A TCP proxy between a service and its server that can fail in every way a network can."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from corechain.devnet.process import LOCALHOST, free_port

Answer = Callable[[bytes], bytes]
"""From the first bytes of a request to what is sent instead of the server's answer."""
PASS, REFUSE, RESET, HANG = "pass", "refuse", "reset", "hang"
LATE, HALF_OPEN, CUT = "late", "half-open", "cut"
SHAPED = (PASS, HANG, LATE, HALF_OPEN, CUT)
"""What changes connections that are open, and does not break them."""
LATE_S = 0.2
CHUNK = 1 << 16
POLL_S = 0.05
RST = struct.pack("ii", 1, 0)
"""SO_LINGER of no time at all: a close is a reset."""


def _reset(connection: socket.socket) -> None:
    """Closes with RST, as a crashed machine behind a firewall does."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    connection.close()


class FaultProxy:
    """Forwards to a port of this machine until `become` says something else.

    REFUSE: nobody listens, and connections break. RESET: connections are taken and reset.
    HANG: connections are taken, nothing is forwarded. A callable: its bytes are the answer.
    LATE: each piece comes a fifth of a second later. HALF_OPEN: questions arrive, answers do not.
    CUT: an answer ends in its middle, and the connection with it.
    """

    def __init__(self, target: int) -> None:
        self.target, self.port = target, free_port()
        self._mode: str | Answer = PASS
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def instead_in(self, url: str) -> str:
        """The URL of the server, by way of this proxy."""
        parts = urlsplit(url)
        place = parts.netloc.rpartition(":")[0] + f":{self.port}"
        return urlunsplit(parts._replace(netloc=place))

    def become(self, mode: str | Answer) -> None:
        self._mode = mode
        if mode is REFUSE:
            self._close_listener()
        elif self._listener is None:
            self._listen()
        if mode not in SHAPED:
            self._reset_all()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOCALHOST, self.port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _close_listener(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()

    def _reset_all(self) -> None:
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:  # whoever serves them closes them
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        mode = self._mode
        if mode is RESET:
            _reset(client)
        elif callable(mode):
            self._answer(client, mode)
        else:
            self._forward(client)

    def _answer(self, client: socket.socket, answer: Answer) -> None:
        with client, suppress(OSError):
            self._keep(client)
            while request := client.recv(CHUNK):
                client.sendall(answer(request))

    def _forward(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((LOCALHOST, self.target))
        except OSError:
            _reset(client)
            return
        with client, server:
            self._keep(client, server)
            up = threading.Thread(target=self._pump, args=(client, server, False), daemon=True)
            up.start()
            self._pump(server, client, True)
            up.join()

    def _keep(self, *connections: socket.socket) -> None:
        with self._lock:
            self._connections.update(connections)

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                while self._mode is HANG and not self._stopped.wait(POLL_S):
                    pass
                if self._mode is LATE:
                    self._stopped.wait(LATE_S)
                if answers and self._mode is HALF_OPEN:
                    continue
                if answers and self._mode is CUT:
                    sink.sendall(data[: len(data) // 2])
                    break
                sink.sendall(data)
        for connection in (source, sink):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._close_listener()
        self._reset_all()
