"""The account of `corechain receipt …`: of a key, of a file with one, of a keystore."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from typer.testing import CliRunner

from corechain.devnet.settings import ADMIN_KEY
from corechain.receipt_cli import _account, commands

PASSWORD = "a password"


def kept(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "payer.key"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_key_comes_from_a_file_in_hexadecimal_or_as_a_keystore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = _account(ADMIN_KEY, None).address
    assert _account(None, kept(tmp_path, ADMIN_KEY + "\n")).address == address
    # Two rounds: how dear guessing is, is not this test's concern.
    stored = Account.encrypt(ADMIN_KEY, PASSWORD, kdf="pbkdf2", iterations=2)
    monkeypatch.setenv("CORECHAIN_KEYSTORE_PASSWORD", PASSWORD)
    assert _account(None, kept(tmp_path, json.dumps(stored))).address == address


@pytest.mark.parametrize(
    ("text", "mode", "more", "words"),
    [
        (ADMIN_KEY, 0o644, [], "every user can read"),
        (ADMIN_KEY, 0o600, ["--key", ADMIN_KEY], "name one of"),
        ("no key", 0o600, [], "not a private key"),
        ("{}", 0o600, [], "CORECHAIN_KEYSTORE_PASSWORD"),
        (None, 0o600, [], "No such file"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(
    text: str | None,
    mode: int,
    more: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CORECHAIN_KEYSTORE_PASSWORD", raising=False)
    file = tmp_path / "payer.key" if text is None else kept(tmp_path, text, mode)
    signer = ["--lane", "0", "--signer", "0x" + "0a" * 20, "--key-file", str(file)]
    done = CliRunner().invoke(commands, ["name-signer", *signer, *more], env={"COLUMNS": "500"})
    assert (done.exit_code, words in done.output) == (2, True), done.output
    assert ADMIN_KEY not in done.output
