"""@corechain/verify as it is built in web/verify, and Node to run it."""

import fcntl
import subprocess
from pathlib import Path
from typing import Any

from support.processes import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "web" / "verify"
BUILT = PACKAGE / "dist" / ".built"


def built() -> Path:
    """The package's folder, compiled from the sources as they are. `make setup` installs what the
    compiler needs."""
    with (PACKAGE / "node_modules" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(path.stat().st_mtime for path in (PACKAGE / "src").iterdir())
        if not BUILT.exists() or BUILT.stat().st_mtime < newest:
            run(["npm", "run", "--silent", "build"], PACKAGE)
            BUILT.touch()
    return PACKAGE


def run(command: list[str | Path], folder: Path, **options: Any) -> str:
    """What a command prints. Fails with all that it says."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
