"""One broker for all pytest processes of a run: a Java virtual machine each would be too much."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corechain.devnet.kafka import KafkaServer


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
