"""`make setup` goes on in pure Python whatever fails, but never with a source that is not ours."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from support.loading import loaded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """native/fetch.py with a folder of its own."""
    module = loaded("native/fetch.py")
    monkeypatch.setattr(module, "KEPT", tmp_path / "kept")
    return module


@pytest.fixture
def ensure(fetch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/ensure_native.py with that, a compiler, and a stamp of its own."""
    module = loaded("tools/ensure_native.py")
    monkeypatch.setattr(module, "load_fetch", lambda: fetch)
    monkeypatch.setattr(module, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(module, "works", lambda: False)
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    monkeypatch.setattr(module, "HEADERS", tmp_path / "include")
    monkeypatch.delenv("CORECHAIN_NATIVE", raising=False)
    monkeypatch.setenv("CC", program(tmp_path, "cc", "exit 1"))
    return module


def program(folder: Path, name: str, script: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def keep(fetch: ModuleType, content: bytes) -> Path:
    fetch.KEPT.mkdir()
    kept: Path = fetch.KEPT / f"{fetch.PACKAGE}-{fetch.VERSION}.tar.gz"
    kept.write_bytes(content)
    return kept


def test_without_a_compiler_pure_python_goes_on(
    ensure: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert ensure.main() == 0
    assert "no C compiler (no-such-compiler)\n! pure Python verifies" in capsys.readouterr().out
    assert not ensure.STAMP.exists()


def test_a_python_without_headers_is_told_what_it_lacks(
    ensure: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ensure, "HEADERS", tmp_path)
    assert ensure.main() == 0
    assert "apt install python3-dev" in capsys.readouterr().out


def test_an_earlier_build_that_goes_on_is_named(
    ensure: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(ensure, "works", lambda: True)
    assert ensure.main() == 0
    assert "\n! an earlier build of it verifies signatures" in capsys.readouterr().out


def test_a_build_is_said_to_work_where_it_can_be_loaded() -> None:
    installed = importlib.util.find_spec("corechain_native") is not None
    assert loaded("tools/ensure_native.py").works() == installed


def test_without_a_compiler_setup_fails_where_it_was_asked_for(
    ensure: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("CORECHAIN_NATIVE", "1")
    assert ensure.main() == 1


def test_nothing_is_built_where_it_is_not_wanted(
    ensure: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORECHAIN_NATIVE", "0")
    assert ensure.main() == 0
    assert "not wanted" in capsys.readouterr().out
    assert not ensure.STAMP.exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo 'no route to host' >&2; exit 1", "no route to host"), ("exit 0", "found no archive")],
)
def test_a_download_that_fails_is_told_and_pure_python_goes_on(
    script: str,
    said: str,
    ensure: ModuleType,
    fetch: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fetch, "client", lambda: [program(tmp_path, "pip", script)])
    assert ensure.main() == 0
    assert said in capsys.readouterr().out
    assert not ensure.STAMP.exists()


def test_a_client_that_is_not_there_is_a_download_that_fails(
    fetch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "client", lambda: ["/no/such/client"])
    with pytest.raises(fetch.Unavailable):
        fetch.archive()


def test_another_archive_than_the_pinned_one_stops_setup(
    ensure: ModuleType, fetch: ModuleType
) -> None:
    keep(fetch, b"another archive")
    with pytest.raises(SystemExit, match="not the pinned"):
        ensure.main()
    assert fetch.main() == fetch.FORGED


def test_a_forged_download_is_not_kept(
    fetch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client's arguments end in: --dest FOLDER NAME==VERSION.
    script = 'for a; do [ -d "$a" ] && echo forged > "$a/electrum_ecc-0.0.8.tar.gz"; done; exit 0'
    monkeypatch.setattr(fetch, "client", lambda: [program(tmp_path, "pip", script)])
    with pytest.raises(fetch.Forged):
        fetch.archive()
    assert list(fetch.KEPT.iterdir()) == []


def test_a_build_that_fails_is_told_with_the_builders_words(
    ensure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "pyproject.toml").write_text('[project]\nname = "corechain-native"\n')
    monkeypatch.setattr(ensure, "NATIVE", broken)
    with pytest.raises(ensure.NotBuilt, match="the build failed:\n"):
        ensure.build(str(tmp_path / "cc"))
