"""The few Valkey commands that the fixtures need, without a client library."""

import socket


def command(port: int, *words: str) -> bytes:
    """The raw answer to one inline command."""
    with socket.create_connection(("127.0.0.1", port), 5.0) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(4096)


def flush(port: int) -> None:
    answer = command(port, "FLUSHALL", "SYNC")
    assert answer == b"+OK\r\n", answer
