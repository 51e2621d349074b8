"""Where a real Chromium is: the machine's own, or what `make web-tools` unpacked."""

import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".corechain" / "chromium"
UNPACKED = FOLDER / "usr" / "lib" / "chromium" / "chromium"
LIBRARIES = FOLDER / "usr" / "lib" / "x86_64-linux-gnu"
NAMES = "chromium", "chromium-browser", "google-chrome"
FLAGS = (
    # In containers there is no user namespace to make a sandbox of; it shows our own pages.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)


def launching() -> dict[str, Any]:
    """What Playwright launches. Where there is no Chromium, the Makefile has said so, and runs none
    of this."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is not None:
        return {"executable_path": found, "args": list(FLAGS)}
    assert UNPACKED.is_file(), "there is no Chromium: `make web-tools`"
    # Its libraries lie beside it, and are not installed.
    environment: dict[str, str | float | bool] = {"LD_LIBRARY_PATH": str(LIBRARIES)}
    return {"executable_path": str(UNPACKED), "args": list(FLAGS), "env": environment}
