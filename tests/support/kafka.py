"""One broker for all pytest processes of a run: a Java virtual machine each would be too much."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corechain.devnet.kafka import KafkaServer


@contextmanager
def formatted_once(folder: Path) -> Iterator[None]:
    """Formatting a log starts a Java virtual machine of its own, for 1.5 seconds of CPU: brokers
    that are a cluster of one, and let in everybody, get a copy of the first one's."""
    whole, log = KafkaServer._format, folder / "kafka-formatted"

    def format_or_copy(server: KafkaServer) -> None:
        if server._format_words() or dict(server.quorum).keys() != {1}:
            whole(server)
            return
        with (folder / "kafka-formatted.turn").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not log.exists():
                whole(server)
                shutil.copytree(server._logs, log)
        shutil.copytree(log, server._logs, dirs_exist_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KafkaServer, "_format", format_or_copy)
        yield


@contextmanager
def shared_broker(folder: Path) -> Iterator[str]:
    """Its address. Who comes first runs it, and waits at the end until nobody uses it any more."""
    note = folder / "kafka.address"
    with (folder / "kafka.turn").open("w") as turn, (folder / "kafka.users").open("w") as users:
        fcntl.flock(turn, fcntl.LOCK_EX)
        server = None if note.exists() else KafkaServer(folder / "kafka").start()
        if server is not None:
            note.write_text(server.address)
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield note.read_text()
        finally:
            if server is not None:
                _end(server, note, turn.fileno(), users.fileno())


def _end(server: KafkaServer, note: Path, turn: int, users: int) -> None:
    fcntl.flock(turn, fcntl.LOCK_EX)  # nobody comes any more
    note.unlink()
    fcntl.flock(users, fcntl.LOCK_EX)  # the others are gone
    server.kill()
