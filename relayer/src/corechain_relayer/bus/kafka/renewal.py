"""What librdkafka's clients are set to: options, and the files with certificates that these name.

librdkafka reads both when a client is made, and never again. So who cannot get through looks for
what has changed, and makes other clients.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from corechain.service.settings import InvalidSetting

Options = Mapping[str, str]
Stamp = tuple[int, int, int]
FILE = ".location"
"""What the names of options end with that name a file."""


@dataclass(frozen=True, slots=True)
class SetTo:
    """Options, and what shows that a file of theirs is another one."""

    options: Options
    files: Mapping[str, Stamp]

    @classmethod
    def of(cls, options: Options) -> "SetTo":
        paths = {path for name, path in options.items() if name.endswith(FILE)}
        return cls(options, {path: _stamp(Path(path)) for path in paths})

    def again(self, read: Callable[[], Options], check: Callable[[Options], None]) -> "SetTo":
        """As it is by now. Where that is of no use, as options or a file that are half written,
        what it was. `check` reads the files, too."""
        try:
            now = SetTo.of(read())
            if now != self:
                check(now.options)
        except (ValueError, InvalidSetting):
            return self
        return now


def _stamp(path: Path) -> Stamp:
    """Mounted secrets are other files after a renewal, not other bytes in the same one."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
