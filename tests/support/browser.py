"""Where a real Chromium is: the machine's own, or what `make web-tools` unpacked."""

import os
import shutil
from pathlib import Path
from typing import Any

from support.processes import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".corechain" / "chromium"
UNPACKED = FOLDER / "usr" / "lib" / "chromium" / "chromium"
NAMES = "chromium", "chromium-browser", "google-chrome"
FLAGS = (
    # In containers there is no user namespace to make a sandbox of; it shows our own pages.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)


def libraries(folder: Path) -> list[Path]:
    """Where the unpacked packages keep shared libraries: not all lie at the top (libpulse needs one
    in a folder of its own, which it looks for where it would be installed)."""
    return sorted({file.parent for file in folder.glob("usr/lib/*-linux-gnu/**/*.so*")})


def launching() -> dict[str, Any]:
    """What Playwright launches, and with what patience: its own ends a launch after 30 seconds.
    Where there is no Chromium, the Makefile has said so, and runs none of this."""
    options = {"args": list(FLAGS), "timeout": PATIENCE_S * 1000}
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is not None:
        return options | {"executable_path": found}
    assert UNPACKED.is_file(), "there is no Chromium: `make web-tools`"
    # Its libraries lie beside it, and are not installed.
    path = os.pathsep.join(map(str, libraries(FOLDER)))
    return options | {
        "executable_path": str(UNPACKED),
        "env": os.environ | {"LD_LIBRARY_PATH": path},
    }
