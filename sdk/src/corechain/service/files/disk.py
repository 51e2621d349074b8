"""Data files from a folder of this machine, or of one that it mounts."""

import os
import stat
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote, urlsplit

from corechain.service.files.download import Unfit, check_beginning, check_not_empty
from corechain.service.workers import LooseWorkers

WORKERS = 4
# Without O_NONBLOCK the opening of a pipe waits for somebody to write into it, for ever.
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class DiskReader:
    """Reads in threads of its own: a mount that hangs stops nobody but those who wait for it, and
    the end of no process."""

    max_bytes: int
    _workers: LooseWorkers = field(default_factory=lambda: LooseWorkers("data-files", WORKERS))

    def close(self) -> None:
        self._workers.close()

    async def read(self, url: str) -> bytes:
        """The file of a file:// URL. Symbolic links are followed: bytes are judged by hash.

        Raises Unfit for what is not there, is no regular file, is too large or no data file.
        """
        path = unquote(urlsplit(url).path)
        return await self._workers.run(partial(self._read, path))

    def _read(self, path: str) -> bytes:
        try:
            descriptor = os.open(path, FLAGS)
            try:
                data = self._content(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise Unfit(getattr(error, "strerror", None) or "unreadable") from error
        check_beginning(data)
        return check_not_empty(data)

    def _content(self, descriptor: int) -> bytes:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unfit("not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            # One more than allowed: it may grow while it is read.
            data = file.read(self.max_bytes + 1)
        if len(data) > self.max_bytes:
            raise Unfit(f"over {self.max_bytes} bytes")
        return data
