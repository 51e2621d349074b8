"""CORECHAIN_NATIVE chooses between corechain-native and pure Python, and says so when it cannot."""

import os
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import typer

import corechain_indexer.metrics
import corechain_relayer.metrics
from corechain.implementation import NativeMissing, check_implementation, is_native
from corechain.protocol import native
from corechain.protocol.errors import InvalidValue
from corechain.service.command import WRONG_SETTING, configured

NATIVE_OF_A_PROCESS = "from corechain.implementation import is_native; print(is_native())"


def run(value: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CORECHAIN_NATIVE": value}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False
    )


def test_pure_python_runs_where_it_is_asked_for() -> None:
    assert run("0", "-c", NATIVE_OF_A_PROCESS).stdout == "False\n"


def test_what_is_installed_runs_where_nothing_is_asked_for() -> None:
    installed = find_spec("corechain_native") is not None
    assert run("", "-c", NATIVE_OF_A_PROCESS).stdout == f"{installed}\n"


def test_a_choice_that_is_none_is_one_sentence() -> None:
    done = run("yes", "-m", "corechain.cli", "status")
    assert done.returncode == 1
    assert done.stderr == "error: CORECHAIN_NATIVE: is 0, 1 or not set; given was 'yes'\n"


def test_its_absence_is_an_error_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", None)
    check_implementation({})
    check_implementation({"CORECHAIN_NATIVE": "0"})
    with pytest.raises(NativeMissing, match="make native"):
        check_implementation({"CORECHAIN_NATIVE": "1"})
    with pytest.raises(InvalidValue, match="0, 1 or not set"):
        check_implementation({"CORECHAIN_NATIVE": "2"})


def test_its_presence_is_no_error_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", sys)
    check_implementation({"CORECHAIN_NATIVE": "1"})
    assert is_native()


@pytest.mark.parametrize("metrics", [corechain_relayer.metrics, corechain_indexer.metrics])
@pytest.mark.parametrize(("library", "told"), [(None, "0.0"), (sys, "1.0")])
def test_a_metric_says_which_one_runs(
    metrics: ModuleType,
    library: ModuleType | None,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "library", library)
    assert f"\ncorechain_native {told}\n" in metrics.Metrics().exposition().decode()


def test_a_service_does_not_start_without_what_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native, "library", None)
    monkeypatch.setenv("CORECHAIN_NATIVE", "1")

    def no_settings() -> None:
        raise AssertionError("settings are not read before")

    with pytest.raises(typer.Exit) as ended:
        configured(no_settings)
    assert ended.value.exit_code == WRONG_SETTING
    assert "corechain-native cannot be loaded" in capsys.readouterr().err
