"""`ape` as a user of the activated environment starts it."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NODE_FOLDERS = [folder for folder in os.get_exec_path() if (Path(folder) / "node").exists()]


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """The environment after `source .venv/bin/activate`: of ours, nothing else is in it."""
    folders = [str(Path(sys.executable).parent), *NODE_FOLDERS, "/usr/bin", "/bin"]
    path = [folder for folder in folders if "node_modules" not in folder]
    return {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "APE_DATA_FOLDER": str(tmp_path / "ape"),
    }
