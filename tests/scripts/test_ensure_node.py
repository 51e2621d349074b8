"""Which Node is good enough, told by programs that say they are one."""

import os
from pathlib import Path
from types import ModuleType

import pytest
from support.loading import loaded

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool(name: str) -> ModuleType:
    return loaded(f"tools/{name}.py")


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ("echo v18.20.4", None),
        ("echo v24.0.0", None),
        ("echo v16.20.2", "is version 16"),
        ("echo v8.0.0", "is version 8"),
        ("exit 1", "does not run"),
        ("echo of another kind", "does not run"),
    ],
)
def test_node_18_and_newer_will_do(tmp_path: Path, node: str, why: str | None) -> None:
    program(tmp_path, "node", node)
    program(tmp_path, "npm", "echo 9.2.0")
    found = tool("ensure_node").unfit(str(tmp_path))
    assert found is None if why is None else why in found


def test_node_without_npm_and_no_node_at_all_are_named(tmp_path: Path) -> None:
    ensure_node = tool("ensure_node")
    assert "no node on the PATH" in ensure_node.unfit(str(tmp_path))
    program(tmp_path, "node", "echo v20.0.0")
    assert "no npm beside" in ensure_node.unfit(str(tmp_path))


def test_the_machine_that_runs_this_has_a_node() -> None:
    ensure_node = tool("ensure_node")
    path = os.pathsep.join([str(ensure_node.FOLDER / "bin"), os.environ["PATH"]])
    assert ensure_node.unfit(path) is None


def test_what_is_plain_python_is_not_asked_for_as_a_wheel() -> None:
    pinned = tool("check_wheels").pinned("numpy==2 ; x\nvarint==1.0.2\nvarints==1\n")
    assert pinned == "numpy==2 ; x\nvarints==1\n"
