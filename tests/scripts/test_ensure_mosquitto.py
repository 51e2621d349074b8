"""Mosquitto without root: apt's packages in our folder, or a sentence that says why not.

given an apt that has the packages
  they and what they need are unpacked into our folder, and nothing else stays there
given an apt without lists
  lists of our own are fetched, and used
given no apt, one that fails, one that hangs, or a package without the program
  the sentence says which, and `make setup` goes on
given an unpacking that was interrupted
  what it left is not taken as the program, and the next attempt is whole
"""

import stat
from pathlib import Path
from types import ModuleType

import pytest
from support.loading import loaded

REPOSITORY = Path(__file__).resolve().parents[2]
POOL = "http://deb.example/pool/main"
URIS = f"""\
'{POOL}/libd/libdlt/libdlt2_2.18.8-6_amd64.deb' libdlt2_2.18.8-6_amd64.deb 52776 SHA256:00
'{POOL}/libw/libwebsockets17_4.1.6-3_amd64.deb' libwebsockets17_1%3a4.1.6-3_amd64.deb 9 MD5Sum:00
'{POOL}/m/mosquitto/mosquitto_2.0.11-1.2+deb12u2_amd64.deb' mosquitto_2.0.11_amd64.deb 263264 \
MD5Sum:00
"""
# What the real ones are asked, and what they leave behind. `$*` has all words of the call.
APT = """#!/bin/sh
PATH=/usr/bin:/bin
echo "apt-get $*" >> "%(calls)s"
%(first)s
case "$*" in
  *--print-uris*) cat "%(uris)s" ;;
  *download*) for word in "$@"; do case "$word" in lib*|mosquitto) : > "${word}_1_amd64.deb" ;; esac
    done ;;
esac
"""
DPKG = """#!/bin/sh
PATH=/usr/bin:/bin
echo "dpkg-deb $(basename "$2")" >> "%(calls)s"
%(first)s
case "$2" in *mosquitto_*) mkdir -p "$3/usr/sbin" && : > "$3/usr/sbin/mosquitto" ;; esac
"""


class Programs:
    """A PATH with nothing but the programs that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder / "bin", folder / "calls"
        self.folder.mkdir()
        self.uris = folder / "uris"
        self.uris.write_text(URIS)

    def put(self, name: str, script: str, first: str = "") -> None:
        """`first`: what it does before anything else."""
        path = self.folder / name
        path.write_text(script % {"calls": self.calls, "uris": self.uris, "first": first})
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def heard(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = loaded("tools/ensure_mosquitto.py")
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    return module


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs(tmp_path)
    found.put("apt-get", APT)
    found.put("dpkg-deb", DPKG)
    monkeypatch.setenv("PATH", str(found.folder))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mosquitto"


def test_the_package_and_what_it_needs_are_unpacked_and_nothing_else_stays(
    tool: ModuleType, programs: Programs, folder: Path
) -> None:
    assert tool.ensure(folder) == ""
    assert (folder / tool.PROGRAM).is_file()
    assert [path.name for path in folder.iterdir()] == ["usr"]
    _, download, *unpacked = programs.heard()
    assert download.endswith("download libdlt2 libwebsockets17 mosquitto")
    assert [line.split()[1].partition("_")[0] for line in unpacked] == [
        "libdlt2",
        "libwebsockets17",
        "mosquitto",
    ]
    before = programs.heard()
    assert tool.ensure(folder) == ""
    assert programs.heard() == before, "nothing is fetched twice"


def test_one_that_is_installed_somewhere_else_is_fetched_all_the_same(
    tool: ModuleType, programs: Programs, folder: Path
) -> None:
    programs.uris.write_text("")
    assert tool.ensure(folder) == ""
    assert programs.heard()[1].endswith("download mosquitto")


def test_a_system_without_lists_gets_lists_in_our_folder(
    tool: ModuleType, programs: Programs, folder: Path
) -> None:
    no_lists = 'case "$*" in *Dir::State::lists*) ;; *) echo "E: Unable to locate" >&2; exit 100;;'
    programs.put("apt-get", APT, f"{no_lists} esac")
    assert tool.ensure(folder) == ""
    updated = [line for line in programs.heard() if line.endswith(" update")]
    assert len(updated) == 1
    assert f"Dir::State::lists={folder}" in updated[0]
    assert [path.name for path in folder.iterdir()] == ["usr"]


def test_without_apt_it_is_said_at_once(tool: ModuleType, programs: Programs, folder: Path) -> None:
    (programs.folder / "apt-get").unlink()
    assert tool.ensure(folder) == "there is no apt-get: install it by hand"


@pytest.mark.parametrize(
    ("name", "script", "said"),
    [
        ("apt-get", APT, "apt-get update: E: Could not resolve 'deb.example'"),
        ("dpkg-deb", DPKG, "dpkg-deb {}/unpacked: E: Could not resolve 'deb.example'"),
    ],
)
def test_what_fails_is_tried_thrice_and_named_with_its_last_line(
    tool: ModuleType, programs: Programs, folder: Path, name: str, script: str, said: str
) -> None:
    failing = "printf 'W: one\\nE: Could not resolve %%s\\n' \"'deb.example'\" >&2; exit 100"
    programs.put(name, script, failing.replace("%%", "%"))
    assert tool.ensure(folder) == said.format(folder)
    mine = [line for line in programs.heard() if line.startswith(name)]
    assert len(mine) % tool.ATTEMPTS == 0


def test_what_fails_without_a_word_is_named_with_its_exit_code(
    tool: ModuleType, programs: Programs, folder: Path
) -> None:
    programs.put("apt-get", APT, "exit 7")
    assert tool.ensure(folder) == "apt-get update: exit code 7"


def test_what_hangs_is_ended_and_named(
    tool: ModuleType, programs: Programs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "LIMIT_S", 0.1)
    monkeypatch.setattr(tool, "ATTEMPTS", 1)
    programs.put("apt-get", APT, "exec sleep 600")
    assert tool.ensure(folder) == "apt-get update: not done within 0.1 s"


def test_a_package_without_the_program_is_named(
    tool: ModuleType, programs: Programs, folder: Path
) -> None:
    programs.put("dpkg-deb", DPKG, "exit 0")
    assert tool.ensure(folder) == "the package has no program"


def test_half_a_program_is_not_taken_as_there(
    tool: ModuleType, programs: Programs, folder: Path
) -> None:
    programs.put("dpkg-deb", DPKG + 'case "$2" in *mosquitto_*) exit 1 ;; esac\n')
    assert tool.ensure(folder).endswith("exit code 1")
    assert not (folder / tool.PROGRAM).exists()
    programs.put("dpkg-deb", DPKG)
    assert tool.ensure(folder) == ""
    assert [path.name for path in folder.iterdir()] == ["usr"]


def test_make_setup_hears_what_is_missing_and_what_that_means(
    tool: ModuleType,
    programs: Programs,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tool, "FOLDER", folder)
    # The machine of the test may have one: the tool looks in places of its own, too.
    monkeypatch.setattr(tool.shutil, "which", lambda name, path: None)
    programs.put("apt-get", APT, "exit 7")
    assert tool.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("! MosquittoMissing: apt-get update: exit code 7. ")
    assert "apt install mosquitto" in said
    programs.put("apt-get", APT)
    assert tool.main() == 0
    assert tool.main() == 0, "and says nothing more"
    assert capsys.readouterr().out == "· Mosquitto\n"
