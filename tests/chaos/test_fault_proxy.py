"""The proxy of the crash matrix fails as it says.

given a server that answers what it was asked, behind the proxy
  when the proxy is late, half open or cuts
    the question arrives all the same, and of the answer all comes later, nothing, or half
"""

import socket
import threading
from collections.abc import Iterator

import pytest
from support.faults import CUT, HALF_OPEN, LATE, LATE_S, PASS, FaultProxy
from support.processes import eventually

QUESTION = b"0123456789"


class Echo:
    """Answers each question with itself, and keeps what it was asked."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.asked = b""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            while data := client.recv(1 << 16):
                self.asked += data
                client.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.close()


def test_an_answer_is_late_whole_or_half_and_the_question_arrives(echo: Echo) -> None:
    with FaultProxy(echo.port) as proxy:
        for mode, expected in ((PASS, QUESTION), (LATE, QUESTION), (CUT, QUESTION[:5])):
            proxy.become(mode)
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.sendall(QUESTION)
                found = b""
                while len(found) < len(expected):
                    found += client.recv(100)
                assert found == expected, mode
                if mode is CUT:
                    assert client.recv(100) == b""
    assert echo.asked == 3 * QUESTION
    assert LATE_S > 0


def test_of_a_half_open_connection_no_answer_comes(echo: Echo) -> None:
    with FaultProxy(echo.port) as proxy:
        proxy.become(HALF_OPEN)
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(QUESTION)
            assert eventually(lambda: echo.asked == QUESTION)
            client.settimeout(LATE_S)
            with pytest.raises(TimeoutError):
                client.recv(100)
