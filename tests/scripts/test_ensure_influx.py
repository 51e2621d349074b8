"""InfluxDB is built once, or a sentence says what is missing for it.

given the tools that it is built with
  the program is there, of the version that we name, and is not built again
given a machine without one of them, or a step that fails
  the sentence names it, and no half program is left
"""

import stat
from pathlib import Path
from types import ModuleType

import pytest
from support.loading import REPOSITORY, loaded

# What the real one is asked, and what it leaves behind.
GO = """#!/bin/sh
PATH=/usr/bin:/bin
echo "$*" >> "%(calls)s"
%(first)s
case "$*" in
  *download*) echo '{"Dir": "%(source)s"}' ;;
  *build*influxd*) while [ "$1" != -o ]; do shift; done; echo program > "$2" ;;
esac
"""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "tools")
    return loaded("tools/ensure_influx.py")


class Tools:
    """A PATH with nothing but what it is built with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.source = folder / "bin", folder / "calls", folder / "source"
        self.folder.mkdir()
        self.source.mkdir()
        (self.source / "go.mod").write_text("module github.com/influxdata/influxdb/v2\n\ngo 1.22\n")
        (self.source / "go.sum").write_text("")
        for name in ("cargo", "rustc", "cc"):
            self.put(name, "#!/bin/sh\n")
        self.put_go()

    def put(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def put_go(self, first: str = "") -> None:
        self.put("go", GO % {"calls": self.calls, "source": self.source, "first": first})


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    found = Tools(tmp_path)
    monkeypatch.setenv("PATH", str(found.folder))
    return found


def test_it_is_built_once_and_only_the_program_is_left(
    tool: ModuleType, tools: Tools, tmp_path: Path
) -> None:
    folder = tmp_path / "influx"
    assert tool.ensure(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["influxd", "version"]
    assert (folder / "version").read_text() == tool.VERSION
    before = tools.calls.read_text()
    assert not tool.ensure(folder)
    assert tools.calls.read_text() == before


def test_another_version_is_built_anew(tool: ModuleType, tools: Tools, tmp_path: Path) -> None:
    folder = tmp_path / "influx"
    tool.ensure(folder)
    (folder / "version").write_text("v2.0.0")
    assert tool.ensure(folder)


def test_a_checkout_takes_what_another_one_has_built(
    tool: ModuleType, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for checkout in ("first", "second"):
        monkeypatch.setattr(tool, "FOLDER", tmp_path / checkout)
        if checkout == "first":
            assert tool.main(["--cached"]) == 0
            assert not (tmp_path / checkout).exists(), "nothing is built for who did not ask"
            assert tool.main() == 0
        built = tools.calls.read_text()
        assert tool.main(["--cached"]) == 0
        assert (tmp_path / checkout / "influxd").read_text() == "program\n"
        assert tools.calls.read_text() == built


@pytest.mark.parametrize(
    ("gone", "said"), [("go", "Go 1.22"), ("rustc", "Rust"), ("cargo", "Rust"), ("cc", "a C comp")]
)
def test_what_is_missing_for_it_is_named(
    tool: ModuleType, tools: Tools, tmp_path: Path, gone: str, said: str
) -> None:
    (tools.folder / gone).unlink()
    with pytest.raises(tool.InfluxMissing, match=said):
        tool.ensure(tmp_path / "influx")


@pytest.mark.parametrize("step", ["download", "get", "pkg-config", "influxd"])
def test_a_step_that_fails_is_told_in_its_own_words_and_leaves_no_program(
    tool: ModuleType, tools: Tools, tmp_path: Path, step: str
) -> None:
    tools.put_go(f'case "$*" in *{step}*) echo "no space left" >&2; exit 1 ;; esac')
    with pytest.raises(tool.InfluxMissing, match="no space left"):
        tool.ensure(tmp_path / "influx")
    assert not (tmp_path / "influx" / "influxd").exists()


def test_a_step_that_hangs_is_ended(
    tool: ModuleType, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "BUILD_LIMIT_S", 0.2)
    tools.put_go("exec sleep 60")
    with pytest.raises(tool.InfluxMissing, match="not done within"):
        tool.ensure(tmp_path / "influx")
