"""Sources of data files that misbehave: a real server over bare sockets, one behaviour each."""

import gzip
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache

from support.processes import PATIENCE_S

Behaviour = Callable[[socket.socket, str], None]
"""What is done with a connection, and the path that was asked for."""

HTML = b"<!doctype html><title>Sign in</title>" + b"<p>hotel wifi</p>" * 50


def reply(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(answer: bytes) -> Behaviour:
    def behave(client: socket.socket, _: str) -> None:
        client.sendall(answer)

    return behave


def offers(body: bytes, *headers: str) -> Behaviour:
    return says(reply("200 OK", body, *headers))


def longer_than_it_says(body: bytes) -> Behaviour:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body) - 7}\r\nconnection: close\r\n\r\n"
    return says(head.encode() + body)


def shorter_than_it_says(body: bytes) -> Behaviour:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body) + 7}\r\nconnection: close\r\n\r\n"
    return says(head.encode() + body)


def without_length(body: bytes) -> Behaviour:
    return says(b"HTTP/1.0 200 OK\r\n\r\n" + body)


def silent(client: socket.socket, _: str) -> None:
    """Takes the question and never answers."""
    with suppress(OSError):
        client.recv(1)


def resets(client: socket.socket, _: str) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resets_halfway(body: bytes) -> Behaviour:
    def behave(client: socket.socket, path: str) -> None:
        client.sendall(reply("200 OK", body)[: -len(body) // 2])
        resets(client, path)

    return behave


def drips(body: bytes, pause_s: float = 0.02) -> Behaviour:
    """A byte at a time: each read is in time, the whole never."""

    def behave(client: socket.socket, _: str) -> None:
        client.sendall(reply("200 OK", body)[: -len(body)])
        for byte in body:
            client.sendall(bytes([byte]))
            time.sleep(pause_s)

    return behave


def answers_together(body: bytes, number: int) -> Behaviour:
    """Answers when so many ask at the same time, and not before."""
    gate = threading.Barrier(number)

    def behave(client: socket.socket, path: str) -> None:
        gate.wait()
        offers(body)(client, path)

    return behave


def endless(first: bytes, *headers: str, filler: bytes = bytes(1 << 16)) -> Behaviour:
    def behave(client: socket.socket, _: str) -> None:
        head = "\r\n".join(["HTTP/1.1 200 OK", "connection: close", *headers])
        client.sendall(head.encode() + b"\r\n\r\n" + first)
        while True:
            client.sendall(filler)

    return behave


def endless_headers(client: socket.socket, _: str) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"x-more: " + b"y" * 4096 + b"\r\n")


def bomb(first: bytes, size: int) -> Behaviour:
    # Made when it is asked for: 0.8 s of CPU that each pytest process spent when it read its tests.
    @cache
    def packed() -> bytes:
        return gzip.compress(first + bytes(size), 9)

    def behave(client: socket.socket, path: str) -> None:
        offers(packed(), "content-encoding: gzip")(client, path)

    return behave


def empty_blocks(client: socket.socket, path: str) -> None:
    """Compressed nothing, for ever."""
    deflater = zlib.compressobj()
    filler = deflater.compress(b"") + deflater.flush(zlib.Z_SYNC_FLUSH)
    again = deflater.flush(zlib.Z_SYNC_FLUSH) or b"\x00\x00\x00\xff\xff"
    endless(filler, "content-encoding: deflate", filler=again * 4096)(client, path)


def redirects(to: str) -> Behaviour:
    return says(reply("302 Found", b"", f"location: {to}"))


@dataclass
class OddSource:
    """A listening address; `asked` are the paths of the requests so far."""

    behave: Behaviour
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(PATIENCE_S)
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = client.recv(4096)
                if not chunk:
                    return
                head += chunk
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            self.behave(client, path)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(client,), daemon=True).start()


@contextmanager
def source_that(behave: Behaviour) -> Iterator[OddSource]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = OddSource(behave)
        source.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=source.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield source
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
