"""A Chromium for the explorer's tests: one of the machine's, one of ours, or a sentence.

given a machine without Chromium
  the question whether there is one is answered with no, and with what to do
given unpacked packages
  every folder of theirs that has shared libraries is one that Chromium looks in
  a program among them that cannot show an empty page is not taken
"""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.browser import libraries
from support.loading import loaded


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "tools"))
    module = loaded("tools/ensure_chromium.py")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "chromium")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["ensure_chromium.py", "--there"])
    return module


def test_a_machine_without_chromium_says_what_is_not_tested(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main() == 1
    assert "NOT tested in a browser (make web-tools)" in capsys.readouterr().out
    program = tool.FOLDER / tool.PROGRAM
    program.parent.mkdir(parents=True)
    program.touch()
    assert tool.main() == 0
    assert capsys.readouterr().out == ""


def test_libraries_in_folders_of_their_own_are_found(tmp_path: Path) -> None:
    top = tmp_path / "usr" / "lib" / "x86_64-linux-gnu"
    inner, none = top / "pulseaudio", top / "pkgconfig"
    for place in (inner, none):
        place.mkdir(parents=True)
    (top / "libpulse.so.0").touch()
    (inner / "libpulsecommon-16.1.so").touch()
    (none / "libpulse.pc").touch()
    assert libraries(tmp_path) == [top, inner]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('echo "<html></html>"', ""),
        ("echo no data of mine >&2; exit 3", "no data of mine"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_program_that_shows_no_page_is_not_taken(
    tool: ModuleType, script: str, said: str
) -> None:
    program = tool.FOLDER / tool.PROGRAM
    program.parent.mkdir(parents=True)
    assert "No such file" in tool.trouble(tool.FOLDER)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert tool.trouble(tool.FOLDER) == said
