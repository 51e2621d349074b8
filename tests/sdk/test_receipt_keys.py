"""The account of `corechain receipt …`: of a key, of a file with one, of a keystore."""

import json
from pathlib import Path

import pytest
import typer
from eth_account import Account
from typer.testing import CliRunner

from corechain.devnet.fleet.cli import fleet
from corechain.devnet.settings import ADMIN_KEY
from corechain.key_options import account_of
from corechain.protocol.keys import DeviceIdentity, KeyType, P256Key
from corechain.receipt_cli import _identity, commands

PASSWORD = "a password"


def kept(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "payer.key"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_key_comes_from_a_file_in_hexadecimal_or_as_a_keystore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = account_of(ADMIN_KEY, None).address
    assert account_of(None, kept(tmp_path, ADMIN_KEY + "\n")).address == address
    # Two rounds: how dear guessing is, is not this test's concern.
    stored = Account.encrypt(ADMIN_KEY, PASSWORD, kdf="pbkdf2", iterations=2)
    monkeypatch.setenv("CORECHAIN_KEYSTORE_PASSWORD", PASSWORD)
    assert account_of(None, kept(tmp_path, json.dumps(stored))).address == address


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


def test_a_receipt_of_a_device_on_p256_is_demanded_with_its_key_and_no_other() -> None:
    ours, other = (P256Key(bytes(31) + bytes([n])).identity for n in (1, 2))
    assert ours.public_key is not None
    assert other.public_key is not None
    key = "0x" + ours.public_key.hex()
    assert _identity(ours.device, KeyType.P256, key) == ours
    for wrong in (None, other.public_key.hex(), key[:-2], "no key"):
        with pytest.raises(typer.BadParameter) as refused:
            _identity(ours.device, KeyType.P256, wrong)
        assert refused.value.param_hint == "--public-key"
    on_k1 = DeviceIdentity(ours.device, KeyType.SECP256K1)
    assert _identity(ours.device, KeyType.SECP256K1, None) == on_k1


def test_a_fleet_is_enrolled_by_a_key_in_a_file(tmp_path: Path) -> None:
    file = kept(tmp_path, ADMIN_KEY, 0o644)
    for more, words in ([], "every user can read"), (["--key", ADMIN_KEY], "name one of"):
        arguments = ["enrol", "--key-file", str(file), *more]
        done = CliRunner().invoke(fleet, arguments, env={"COLUMNS": "500"})
        assert (done.exit_code, words in done.output) == (2, True), done.output
