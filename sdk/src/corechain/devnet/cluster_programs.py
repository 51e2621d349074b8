"""Where the programs of `corechain up --profile cluster` are. `make cluster-servers` fetches them.

Each is looked for at the path of its variable, else under `.corechain/` of this folder or one above
(of the current folder, then of this file), else on the PATH.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corechain.devnet.errors import MissingProgram

FETCH = "run `make cluster-servers` in a checkout of the CoreChain repository"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that is no package of Python or npm. `place` is relative to `.corechain/`."""

    name: str
    variable: str
    place: Path

    def find(self) -> Path:
        """Raises MissingProgram."""
        chosen = os.environ.get(self.variable)
        if chosen:
            return self._chosen(Path(chosen))
        for path in self._candidates():
            if path.is_file() and os.access(path, os.X_OK):
                return path
        raise MissingProgram(self.name, f"{FETCH}, or set {self.variable}")

    def _chosen(self, path: Path) -> Path:
        if not os.access(path, os.X_OK):
            raise MissingProgram(f"{self.name} at {path}", f"correct {self.variable}")
        return path

    def _candidates(self) -> Iterator[Path]:
        for place in (Path.cwd(), Path(__file__).resolve()):
            for folder in (place, *place.parents):
                yield folder / ".corechain" / self.place
        # Debian puts servers where a plain user's PATH does not lead.
        places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
        on_path = shutil.which(self.place.name, path=places)
        if on_path:
            yield Path(on_path)


ETCD = Tool("etcd", "CORECHAIN_ETCD", Path("etcd", "usr", "bin", "etcd"))
PATRONI = Tool("patroni", "CORECHAIN_PATRONI", Path("patroni", "bin", "patroni"))
PGBOUNCER = Tool("pgbouncer", "CORECHAIN_PGBOUNCER", Path("pgbouncer", "usr", "sbin", "pgbouncer"))
