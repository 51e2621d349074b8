"""@corechain/verify as it is built in web/verify, and Node to run it."""

import fcntl
import subprocess
from pathlib import Path
from typing import Any

from tools.api_document import PLACE, current

from support.processes import PATIENCE_S

PACKAGE = PLACE.parent
BUILT = PACKAGE / "dist" / ".built"
INSTALLED = PACKAGE / "node_modules"
LONGEST_S = 5 * PATIENCE_S
"""A compiler, or thousands of proofs, on a machine far too busy."""
DEPENDENCIES = "@noble/curves", "@noble/hashes"
TYPED_CLIENT = "openapi-fetch", "openapi-typescript-helpers"


def built() -> Path:
    """The package's folder, compiled from sources and API as they are. `make setup` installs what
    the compiler needs."""
    with (INSTALLED / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if PLACE.read_text() != current():
            PLACE.write_text(current())
            run(["npm", "run", "--silent", "types"], PACKAGE)
        newest = max(path.stat().st_mtime for path in (PACKAGE / "src").iterdir())
        if not BUILT.exists() or BUILT.stat().st_mtime < newest:
            run(["npm", "run", "--silent", "build"], PACKAGE)
            BUILT.touch()
    return PACKAGE


def run(command: list[str | Path], folder: Path, **options: Any) -> str:
    """What a command prints. Fails with all that it says."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=LONGEST_S, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def packed(folder: Path) -> list[Path]:
    """The package and what it depends on, as they would be published."""
    built()
    pack = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder]
    run([*pack, PACKAGE, *(INSTALLED / name for name in DEPENDENCIES)], folder)
    return sorted(folder.glob("*.tgz"))


def installed_in(project: Path) -> None:
    """Installs the packed package into a project, without any registry."""
    archives = project.parent / "packed"
    archives.mkdir()
    run(["npm", "install", "--silent", "--offline", "--no-audit", *packed(archives)], project)


def compile_app(project: Path) -> None:
    """TypeScript's own compiler over a project that uses openapi-fetch besides."""
    for name in TYPED_CLIENT:
        (project / "node_modules" / name).symlink_to(INSTALLED / name)
    run(["node", INSTALLED / "typescript" / "bin" / "tsc", "--project", "."], project)
