"""Programs of a cluster: found where they were put, and gone when their owner is.

given a program that Patroni starts for us
  ├── it ends when its owner does, however that ends
  └── nobody is left to watch it when it ends by itself
given the ports of a cluster's members
  └── they are the same at every start: the members remember each other's
"""

import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import eventually, is_gone, mentioning

from corechain.devnet.cluster_programs import ETCD, Tool
from corechain.devnet.errors import MissingProgram
from corechain.devnet.patroni import KEPT, kept_ports

SLEEPS = "import sys, time; print('up', flush=True); time.sleep(float(sys.argv[1]))"


def kept(owner: int, folder: Path, seconds: float) -> "subprocess.Popen[str]":
    """A program that only sleeps; `folder` is how it and its watcher are recognised."""
    program = [sys.executable, "-c", SLEEPS, str(seconds), str(folder)]
    words = [sys.executable, "-I", "-S", str(KEPT), str(owner), *program]
    started = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    return started


def test_a_kept_program_ends_with_its_owner(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPS, "600"], stdout=subprocess.PIPE) as owner:
        with kept(owner.pid, tmp_path, 600) as program:
            owner.kill()
            owner.wait()
            assert eventually(lambda: is_gone(program.pid))
        assert eventually(lambda: not mentioning(tmp_path))


def test_nobody_watches_a_program_that_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPS, "600"], stdout=subprocess.PIPE) as owner:
        with kept(owner.pid, tmp_path, 0.1) as program:
            assert program.stdout is not None
            assert program.stdout.read() == "", "the watcher holds no file of the program's"
            assert program.wait() == 0
        assert eventually(lambda: not mentioning(tmp_path))
        owner.kill()


def test_members_keep_their_ports(tmp_path: Path) -> None:
    file = tmp_path / "cluster" / "ports.json"
    chosen = kept_ports(file, ["a", "b"])
    assert len({port for ports in chosen.values() for port in ports}) == 4
    assert kept_ports(file, ["a", "b"]) == chosen


def test_a_program_that_is_missing_is_named_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Tool("a store", "CORECHAIN_NOWHERE", Path("no", "such-program"))
    with pytest.raises(MissingProgram, match="make cluster-servers"):
        nowhere.find()
    monkeypatch.setenv(ETCD.variable, str(tmp_path / "etcd"))
    with pytest.raises(MissingProgram, match="correct CORECHAIN_ETCD"):
        ETCD.find()
    (tmp_path / "etcd").write_text("#!/bin/sh\n")
    (tmp_path / "etcd").chmod(0o755)
    assert ETCD.find() == tmp_path / "etcd"


def test_programs_are_found_from_any_folder_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ".corechain" / "some" / "program"
    program.parent.mkdir(parents=True)
    program.write_text("")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    tool = Tool("some program", "CORECHAIN_SOME", Path("some", "program"))
    with pytest.raises(MissingProgram):
        tool.find()  # nobody may run it
    program.chmod(0o755)
    assert tool.find() == program
