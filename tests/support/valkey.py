"""The few Valkey commands that the fixtures need, without a client library."""

import socket
from dataclasses import replace

from corechain.devnet.process import Command
from corechain.devnet.servers import ValkeyServer


def command(port: int, *words: str) -> bytes:
    """The raw answer to one inline command."""
    with socket.create_connection(("127.0.0.1", port), 5.0) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(4096)


def flush(port: int) -> None:
    answer = command(port, "FLUSHALL", "SYNC")
    assert answer == b"+OK\r\n", answer


class LossyValkeyServer(ValkeyServer):
    """As a stock server is set up: everything is in memory, and kill -9 takes it along."""

    def _command(self) -> Command:
        command = super()._command()
        words = list(command.arguments)
        words[words.index("--appendonly") + 1] = "no"
        return replace(command, arguments=words)
