"""A wrong setting is one clear sentence and exit 2, and no secret is in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corechain.service.settings import InvalidSetting
from corechain_relayer.settings import PREFIX, load_settings

SECRET = "11" * 32
GOOD = {
    "RELAYER_RPC_URL": "http://127.0.0.1:1",
    "RELAYER_DEPLOYMENT": "31337.json",
    "RELAYER_BUS_URL": "redis://user:hunter2@127.0.0.1:1/0",
    "RELAYER_DATABASE_URL": "postgresql://user:hunter2@127.0.0.1:1/relayer",
    "RELAYER_DATA_DIR": "data",
    "RELAYER_SUBMITTER_KEY": SECRET,
}
WRONG = {
    "a typo": ({"RELAYER_MAX_READNGS": "5"}, "RELAYER_MAX_READNGS is not a setting"),
    "no number": ({"RELAYER_MAX_READINGS": "many"}, "RELAYER_MAX_READINGS: input should be"),
    "out of range": ({"RELAYER_LANE": "65536"}, "RELAYER_LANE: input should be less than"),
    "zero": ({"RELAYER_MAX_AGE_S": "0"}, "RELAYER_MAX_AGE_S: input should be greater than 0"),
    "zero confirmations": ({"RELAYER_CONFIRMATIONS": "0"}, "RELAYER_CONFIRMATIONS: input should"),
    "a future that a revocation reaches": (
        {"RELAYER_MAX_REPORT_FUTURE_S": "3601"},
        "RELAYER_MAX_REPORT_FUTURE_S: input should be less than",
    ),
    "another scheme": ({"RELAYER_BUS_URL": "amqp://x"}, "RELAYER_BUS_URL: is not a URL"),
    "a short key": ({"RELAYER_SUBMITTER_KEY": "0x12"}, "RELAYER_SUBMITTER_KEY: is not a private"),
    "a key of words": ({"RELAYER_SUBMITTER_KEY": "please"}, "RELAYER_SUBMITTER_KEY: is not a"),
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Replaces the fixture of this folder: nothing is started here."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return GOOD


def test_good_settings_are_read_and_hide_what_is_secret(environment: dict[str, str]) -> None:
    settings = load_settings()
    assert settings.lane == 0
    assert "hunter2" not in repr(settings)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(("changes", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_setting_is_named_without_its_value(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    sentence: str,
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting) as refused:
        load_settings()
    assert str(refused.value).startswith(sentence)
    assert "please" not in str(refused.value)


def test_a_missing_setting_is_named(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RELAYER_DATA_DIR")
    with pytest.raises(InvalidSetting, match="RELAYER_DATA_DIR is not set"):
        load_settings()


def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "corechain_relayer", *arguments],
        env={"PATH": os.environ["PATH"]} | GOOD | changes,
        capture_output=True,
        text=True,
    )


def test_the_command_says_one_sentence_and_exits_with_2(tmp_path: Path) -> None:
    broken = tmp_path / "deployment.json"
    broken.write_text("{}")
    failures = {
        "no deployment": run("run"),
        "broken deployment": run("run", RELAYER_DEPLOYMENT=str(broken)),
        "out of range": run("run", RELAYER_LANE="-1"),
        "unknown role": run("run", "--role", "king"),
    }
    for case, done in failures.items():
        assert done.returncode == 2, case
        assert done.stderr.startswith("error: "), case
        assert done.stderr.count("\n") == 1, case
        assert "hunter2" not in done.stderr + done.stdout, case
        assert SECRET not in done.stderr + done.stdout, case
