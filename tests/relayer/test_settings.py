"""A wrong setting is one clear sentence and exit 2, and no secret is in it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_keyfile.keyfile import create_keyfile_json
from support.forked import completed

from corechain.keystore import WrongKeystore, open_keystore
from corechain.protocol.signature import SECP256K1_ORDER
from corechain.service.settings import InvalidSetting
from corechain_relayer.settings import PREFIX, load_settings

SECRET = "11" * 32
NO_KEY = "is not a private key of secp256k1: it is 0, or not below the order"
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
    "a setting of an earlier version": (
        {"RELAYER_TRUST_BUS": "true"},
        "RELAYER_TRUST_BUS was removed: set RELAYER_FRAME_KEY",
    ),
    "no number": ({"RELAYER_MAX_READINGS": "many"}, "RELAYER_MAX_READINGS: is not a whole number"),
    "out of range": ({"RELAYER_LANE": "65536"}, "RELAYER_LANE: input should be less than"),
    "a lane beyond the last": (
        {"RELAYER_LANE": "2", "RELAYER_LANES": "2"},
        "RELAYER_LANES: lane 2 is none of the 2 from lane 0 on",
    ),
    "a lane below the first": (
        {"RELAYER_LANE": "3", "RELAYER_LANES": "9", "RELAYER_FIRST_LANE": "4"},
        "RELAYER_LANES: lane 3 is none of the 9 from lane 4 on",
    ),
    "zero": ({"RELAYER_MAX_AGE_S": "0"}, "RELAYER_MAX_AGE_S: input should be greater than 0"),
    "zero confirmations": ({"RELAYER_CONFIRMATIONS": "0"}, "RELAYER_CONFIRMATIONS: input should"),
    "a future that a revocation reaches": (
        {"RELAYER_MAX_REPORT_FUTURE_S": "3601"},
        "RELAYER_MAX_REPORT_FUTURE_S: input should be less than",
    ),
    "another scheme": ({"RELAYER_BUS_URL": "amqp://x"}, "RELAYER_BUS_URL: is not a URL"),
    "a short key": ({"RELAYER_SUBMITTER_KEY": "0x12"}, "RELAYER_SUBMITTER_KEY: is not a private"),
    "a key of zero": ({"RELAYER_GUARD_KEY": "00" * 32}, f"RELAYER_GUARD_KEY: {NO_KEY}"),
    "a key of the curve's order": (
        {"RELAYER_WATCHTOWER_KEY": f"0x{SECP256K1_ORDER:064x}"},
        f"RELAYER_WATCHTOWER_KEY: {NO_KEY}",
    ),
    "a key beyond the curve's order": (
        {"RELAYER_SUBMITTER_KEY": "ff" * 32},
        f"RELAYER_SUBMITTER_KEY: {NO_KEY}",
    ),
    "a key with gaps": (
        {"RELAYER_PROPOSER_KEY": " ".join(["11"] * 32)},
        "RELAYER_PROPOSER_KEY: is not a private key in hexadecimal",
    ),
    "a URL of nowhere": (
        {"RELAYER_TRACES_URL": "http://"},
        "RELAYER_TRACES_URL: is a URL without a host",
    ),
    "a port that is none": (
        {"RELAYER_RPC_URL": "http://node:99999"},
        "RELAYER_RPC_URL: has a URL without a host, or with a port that is none",
    ),
    "a node twice": (
        {"RELAYER_RPC_URL": "http://a,http://a"},
        "RELAYER_RPC_URL: names a URL twice",
    ),
    "nodes where they were": (
        {"RELAYER_MORE_RPC_URLS": "http://b"},
        "RELAYER_MORE_RPC_URLS was removed: name all nodes in RELAYER_RPC_URL, comma separated, "
        "for every role",
    ),
    "two databases": (
        {"RELAYER_DATABASE_URL": "postgresql://a/b,postgresql://c/b"},
        "RELAYER_DATABASE_URL: names more than one URL",
    ),
    "a short secret": (
        {"RELAYER_ALERT_SECRET": "please"},
        "RELAYER_ALERT_SECRET: has less than 16 characters",
    ),
    "a word that is none of them": (
        {"RELAYER_LOG_LEVEL": "please"},
        "RELAYER_LOG_LEVEL: is none of what it takes: debug, info, warning or error",
    ),
    "neither true nor false": (
        {"RELAYER_SHARE_LANES": "please"},
        "RELAYER_SHARE_LANES: is neither true nor false",
    ),
    "a password without a user": (
        {"RELAYER_MQTT_PASSWORD": "please"},
        "RELAYER_MQTT_PASSWORD needs a user in RELAYER_MQTT_URL",
    ),
    "a short frame key": (
        {"RELAYER_FRAME_KEY": "12,34"},
        "RELAYER_FRAME_KEY: is not a list",
    ),
    "a frame key of words": (
        {"RELAYER_FRAME_KEY": "please"},
        "RELAYER_FRAME_KEY: is not a list",
    ),
    "no frame key": ({"RELAYER_FRAME_KEY": ""}, "RELAYER_FRAME_KEY: is not a list"),
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


def test_frame_keys_are_a_list_of_which_the_first_seals(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not load_settings().frame_keys.keys
    monkeypatch.setenv("RELAYER_FRAME_KEY", f"{'2a' * 32}, 0x{'2b' * 32}")
    settings = load_settings()
    assert settings.frame_keys.keys == (b"\x2a" * 32, b"\x2b" * 32)
    assert "2a2a" not in repr(settings)


def test_a_missing_setting_is_named(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RELAYER_DATA_DIR")
    with pytest.raises(InvalidSetting, match="RELAYER_DATA_DIR is not set"):
        load_settings()


def test_all_that_is_missing_or_wrong_is_said_at_once(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RELAYER_DATA_DIR", "RELAYER_BUS_URL", "RELAYER_RPC_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("RELAYER_POLL_S", "soon")
    with pytest.raises(InvalidSetting) as refused:
        load_settings()
    missing, wrong = str(refused.value).split("; ")
    assert missing.endswith(" are not set")
    assert set(missing.replace(",", "").split()) == {
        *("RELAYER_DATA_DIR", "RELAYER_BUS_URL", "RELAYER_RPC_URL"),
        *("and", "are", "not", "set"),
    }
    assert wrong == "RELAYER_POLL_S: is not a number"


INJECTED = {
    "RELAYER_PORT": "tcp://10.0.0.7:8701",
    "RELAYER_PORT_8701_TCP": "tcp://10.0.0.7:8701",
    "RELAYER_PORT_8701_TCP_ADDR": "10.0.0.7",
    "RELAYER_PORT_8701_TCP_PORT": "8701",
    "RELAYER_PORT_8701_TCP_PROTO": "tcp",
    "RELAYER_SERVICE_HOST": "10.0.0.7",
    "RELAYER_SERVICE_PORT": "8701",
    "RELAYER_SERVICE_PORT_OPS": "8701",
    # Of a service that is called relayer-http.
    "RELAYER_HTTP_SERVICE_HOST": "10.0.0.7",
    "RELAYER_HTTP_PORT": "tcp://10.0.0.7:8701",
}


def test_what_kubernetes_injects_is_no_setting(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in INJECTED.items():
        monkeypatch.setenv(name, value)
    assert load_settings().http_port == 8701


@pytest.mark.parametrize("name", ["RELAYER_PORT", "RELAYER_HTTP_PRT", "RELAYER_LANE_PORT"])
def test_a_name_that_only_looks_injected_is_refused(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "8701")
    with pytest.raises(InvalidSetting, match=f"{name} is not a setting"):
        load_settings()


def secret_file(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


@pytest.mark.parametrize(("mode", "taken"), [(0o600, True), (0o440, True), (0o604, False)])
def test_a_secret_that_every_user_can_read_is_refused(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: int,
    taken: bool,
) -> None:
    monkeypatch.delenv("RELAYER_SUBMITTER_KEY")
    path = secret_file(tmp_path / "key", SECRET)
    monkeypatch.setenv("RELAYER_SUBMITTER_KEY_FILE", str(path))
    path.chmod(mode)
    if taken:
        assert load_settings().submitter_key is not None
        return
    with pytest.raises(InvalidSetting, match=r"_KEY_FILE: every user can read .*chmod 600") as e:
        load_settings()
    assert SECRET not in str(e.value)
    monkeypatch.setenv("RELAYER_SUBMITTER_KEY", SECRET)
    monkeypatch.delenv("RELAYER_SUBMITTER_KEY_FILE")
    monkeypatch.setenv("RELAYER_MAX_AGE_S_FILE", str(path))
    path.write_text("3")
    assert load_settings().max_age_s == 3, "what is no secret may be read by all"


@pytest.fixture(scope="module")
def keystore() -> str:
    key: bytes = bytes.fromhex(SECRET)
    password: Any = b"a pass-phrase"
    return json.dumps(create_keyfile_json(key, password, kdf="pbkdf2", iterations=2))


def test_a_key_may_be_a_keystore(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keystore: str
) -> None:
    monkeypatch.delenv("RELAYER_SUBMITTER_KEY")
    monkeypatch.setenv("RELAYER_SUBMITTER_KEY_FILE", str(secret_file(tmp_path / "key", keystore)))
    with pytest.raises(InvalidSetting, match="its password is not set"):
        load_settings()
    monkeypatch.setenv("RELAYER_KEYSTORE_PASSWORD", "another")
    with pytest.raises(InvalidSetting, match="RELAYER_SUBMITTER_KEY is a keystore of another"):
        load_settings()
    password = secret_file(tmp_path / "password", "a pass-phrase\n")
    monkeypatch.delenv("RELAYER_KEYSTORE_PASSWORD")
    monkeypatch.setenv("RELAYER_KEYSTORE_PASSWORD_FILE", str(password))
    key = load_settings().submitter_key
    assert key is not None
    assert key.get_secret_value() == SECRET


@pytest.mark.parametrize("text", ["{", "{}", '{"crypto": 1, "version": 3}', '{"version": 9}'])
def test_what_is_no_keystore_is_refused(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("RELAYER_SUBMITTER_KEY", text)
    monkeypatch.setenv("RELAYER_KEYSTORE_PASSWORD", "a pass-phrase")
    with pytest.raises(InvalidSetting, match="is not a keystore of version 3"):
        load_settings()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        # What no MAC is of: another key comes out, whose address nobody has funded.
        (("crypto", "cipherparams", "iv"), 16 * "11", "its key is not of the address in it"),
        (("crypto", "cipher"), "aes-128-cbc", "not a keystore of version 3"),
        (("crypto", "kdfparams", "c"), 1 << 70, "not a keystore of version 3"),
    ],
)
def test_a_damaged_keystore_opens_as_no_other_key(
    keystore: str, place: tuple[str, ...], value: object, words: str
) -> None:
    damaged = json.loads(keystore)
    inner = damaged
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(WrongKeystore, match=words):
        open_keystore(json.dumps(damaged), "a pass-phrase")
    unnamed = {name: field for name, field in json.loads(keystore).items() if name != "address"}
    assert open_keystore(json.dumps(unnamed), "a pass-phrase") == SECRET.removeprefix("0x")


def test_a_secret_can_come_from_a_file(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RELAYER_SUBMITTER_KEY")
    secret_file(tmp_path / "key", SECRET + "\n")
    monkeypatch.setenv("RELAYER_SUBMITTER_KEY_FILE", str(tmp_path / "key"))
    key = load_settings().submitter_key
    assert key is not None
    assert key.get_secret_value() == SECRET


def test_a_file_that_cannot_be_read_or_a_value_given_twice_is_named(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RELAYER_SUBMITTER_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidSetting, match="are both set"):
        load_settings()
    monkeypatch.delenv("RELAYER_SUBMITTER_KEY")
    with pytest.raises(InvalidSetting, match="cannot be read: No such file"):
        load_settings()
    secret_file(tmp_path / "none", "").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSetting, match="is not text"):
        load_settings()


def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"]} | GOOD | changes
    return completed("corechain_relayer", arguments, environment)


def test_the_command_says_one_sentence_and_exits_with_2(tmp_path: Path) -> None:
    broken = tmp_path / "deployment.json"
    broken.write_text("{}")
    failures = {
        "no deployment": run("run"),
        "broken deployment": run("run", RELAYER_DEPLOYMENT=str(broken)),
        "unknown role": run("run", "--role", "king"),
        "a key that is none, of another role": run(
            "run", "--role", "gateway", RELAYER_GUARD_KEY="f" * 64
        ),
    }
    for case, done in failures.items():
        assert done.returncode == 2, case
        assert done.stderr.startswith("error: "), case
        assert done.stderr.count("\n") == 1, case
        assert "hunter2" not in done.stderr + done.stdout, case
        assert SECRET not in done.stderr + done.stdout, case
