"""Transactions whose key is elsewhere are those that a key of ours would have signed.

given a server that speaks web3signer's eth1 API, on a real port
  what it signs is, byte for byte, what the same key signs here
  a high s is made low, as the chain takes no other
  another key's signature, rubbish, a refusal, an endless answer, silence are failures, by kind
  however short r is, it is written in full
given a lane whose signer goes away
  nothing is signed and no nonce is used; it goes on when the signer is back
given settings
  a key in two places, or a place that is none, is refused
"""

import json
import sys
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from coincurve import PrivateKey
from pydantic import SecretStr
from support.http import Script, answers

from corechain.protocol.hashing import keccak
from corechain.protocol.signature import SECP256K1_ORDER
from corechain.service.settings import InvalidSetting
from corechain_relayer.accounts import account_of, has_key, required_account
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.custody import (
    MISTAKEN,
    MOST_BYTES,
    UNAVAILABLE,
    RemoteSigner,
    SignerFailed,
    Web3Signer,
    checked,
)
from corechain_relayer.submitter.plan import Fees, Intent
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.submitter.signer_settings import place_of
from relayer.lane import Lane
from relayer.support import SUBMITTER_KEY, WATCHTOWER_KEY

CALL = Intent(1, "batch:1", b"\7" * 20, b"call")
LOCAL = Signer.of(SUBMITTER_KEY, 31337)
FIELDS = (CALL, 3, Fees(100, 1), 50_000, 1.5)


class SigningServer:
    """What web3signer answers to `publicKeys` and `sign`, by a key of its own. `mode`: how it is
    out of order. (Its paths and forms: the REST API reference of Consensys web3signer.)"""

    def __init__(self) -> None:
        self.key, self.mode, self.asked = PrivateKey(bytes.fromhex(SUBMITTER_KEY[2:])), "", 0
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = outer.keys(self.path)
                self.answer(status, text)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.answer(*outer.sign(self.path, json.loads(body)))

            def answer(self, status: int, text: str) -> None:
                if outer.mode == "silent":
                    outer.release.wait(60)
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                try:
                    self.wfile.write(text.encode())
                except OSError:  # who asked has gone
                    return

            def log_message(self, *_: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def public_key(self) -> str:
        return "0x" + self.key.public_key.format(compressed=False)[1:].hex()

    def keys(self, path: str) -> tuple[int, str]:
        assert path == "/api/v1/eth1/publicKeys"
        listed = {"no keys": "[]", "no list": "{", "other list": '{"a": [1]}'}
        return 200, listed.get(self.mode, json.dumps(["0x00", 7, self.public_key]))

    def sign(self, path: str, body: dict[str, str]) -> tuple[int, str]:
        self.asked += 1
        if path != f"/api/v1/eth1/sign/{self.public_key}":
            return 404, ""
        if self.mode == "broken":
            return 500, "Internal Server Error"
        key = PrivateKey(b"\x11" * 32) if self.mode == "other key" else self.key
        signed = key.sign_recoverable(keccak(bytes.fromhex(body["data"][2:])), hasher=None)
        r, s, v = signed[:32], int.from_bytes(signed[32:64], "big"), 27 + signed[64]
        if self.mode == "high s":
            s, v = SECP256K1_ORDER - s, 55 - v
        return 200, self._written("0x" + (r + s.to_bytes(32, "big") + bytes([v])).hex())

    def _written(self, text: str) -> str:
        forms = {"quoted": f'"{text}"\n', "short": text[:-2], "endless": "0" * (MOST_BYTES + 1)}
        zero = "0x" + 128 * "0" + "1b"
        return {**forms, "zero": zero, "rubbish": "signature"}.get(self.mode, text)

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[SigningServer]:
    found = SigningServer()
    yield found
    found.close()


def remote(server: SigningServer, counts: list[str], timeout_s: float = 20.0) -> RemoteSigner:
    custody = Web3Signer(server.url + "/", LOCAL.address, timeout_s)
    return RemoteSigner(custody, LOCAL.address, 31337, counts.append)


@pytest.mark.parametrize("mode", ["", "quoted", "high s"])
async def test_what_a_remote_signer_signs_is_what_the_key_signs_here(
    server: SigningServer, mode: str
) -> None:
    server.mode = mode
    counts: list[str] = []
    signer = remote(server, counts)
    assert await signer.signed(*FIELDS) == LOCAL.sign(*FIELDS)
    assert await signer.signed(*FIELDS) == await LOCAL.signed(*FIELDS)
    assert (counts, server.asked) == ([], 2)
    assert signer.lock == LOCAL.lock
    assert "http" not in repr(signer)


FAILURES = [
    ("no keys", UNAVAILABLE, "has no key of 0x"),
    ("no list", MISTAKEN, "no JSON"),
    ("other list", UNAVAILABLE, "has no key"),
    ("broken", UNAVAILABLE, "answers 500"),
    ("other key", MISTAKEN, "not of the key"),
    ("short", MISTAKEN, "no signature of 65 bytes"),
    ("rubbish", MISTAKEN, "no signature"),
    ("zero", MISTAKEN, "not below the order"),
    ("endless", MISTAKEN, "is over"),
]


@pytest.mark.parametrize(("mode", "kind", "words"), FAILURES)
async def test_what_a_signer_does_wrong_is_a_failure_by_kind(
    server: SigningServer, mode: str, kind: str, words: str
) -> None:
    server.mode, counts = mode, list[str]()
    signer = remote(server, counts)
    with pytest.raises(SignerFailed, match=words):
        await signer.signed(*FIELDS)
    assert counts == [kind]
    server.mode = ""
    assert await signer.signed(*FIELDS) == LOCAL.sign(*FIELDS)


async def test_a_signer_that_is_silent_or_away_is_a_failure_in_time(server: SigningServer) -> None:
    server.mode, counts = "silent", list[str]()
    with pytest.raises(SignerFailed, match="TimeoutError"):
        await remote(server, counts, timeout_s=0.2).signed(*FIELDS)
    server.close()
    with pytest.raises(SignerFailed, match="ConnectError"):
        await remote(server, counts).signed(*FIELDS)
    assert counts == [UNAVAILABLE, UNAVAILABLE]


async def test_a_signer_that_is_busy_is_left_alone_for_as_long_as_it_asks() -> None:
    heard: list[Message] = []
    with answers(Script(503, b"", headers=(("retry-after", "30"),)), heard) as url:
        custody = Web3Signer(url, LOCAL.address, 20.0)
        for words in ("answers 503", "left alone for 30 s", "left alone"):
            with pytest.raises(SignerFailed, match=words):
                await custody.signature(b"payload")
    assert len(heard) == 1


async def test_a_key_that_a_signer_has_lost_is_looked_for_again(server: SigningServer) -> None:
    signer = remote(server, [])
    await signer.signed(*FIELDS)
    server.key = PrivateKey(b"\x11" * 32)
    for words in ("answers 404", "has no key"):
        with pytest.raises(SignerFailed, match=words):
            await signer.signed(*FIELDS)


def test_a_short_r_is_written_in_full() -> None:
    key = PrivateKey(bytes.fromhex(SUBMITTER_KEY[2:]))
    for number in range(10_000):
        digest = keccak(b"%d" % number)
        found = key.sign_recoverable(digest, hasher=None)
        if found[0] == 0:  # one in 256
            break
    r, s = int.from_bytes(found[:32], "big"), int.from_bytes(found[32:64], "big")
    assert r < 1 << 248
    for either in (s, SECP256K1_ORDER - s):
        compact = checked(digest, r, either, LOCAL.address)
        assert (len(compact), compact[:32]) == (64, found[:32])


async def test_a_lane_whose_signer_goes_away_uses_no_nonce_and_goes_on_when_it_is_back(
    lane: Lane, server: SigningServer
) -> None:
    old, counts = lane.submitter, list[str]()
    chain_id = lane.chain.deployment.chain_id
    custody = Web3Signer(server.url, LOCAL.address, 20.0)
    signer = RemoteSigner(custody, LOCAL.address, chain_id, counts.append)
    parts = (old.journal, old.node, signer, old.settled, old.policy, old.metrics)
    lane.submitter = Submitter(*parts)
    await lane.want(1)
    server.mode = "broken"
    with pytest.raises(SignerFailed):
        await lane.submitter.step()
    server.mode = "other key"
    with pytest.raises(SignerFailed):
        await lane.submitter.step()
    assert counts == [UNAVAILABLE, MISTAKEN]
    assert await lane.journal.connection.fetchval("select count(*) from attempt") == 0
    assert await lane.state("batch:1") == "queued"
    server.mode = ""
    await lane.until_confirmed("batch:1")
    nonce = await lane.journal.connection.fetchval("select nonce from intent")
    assert await lane.submitter.node.count(LOCAL.address) == nonce + 1


# ---------------------------------------------------------------------- settings


class Some:
    """The settings that an account is made of."""

    def __init__(self, **given: str) -> None:
        self.guard_key = self.guard_signer = None
        self.signer_timeout_s = 20.0
        self.now = ""
        for name, value in given.items():
            setattr(self, name, SecretStr(value))

    def read_again(self, field: str) -> str:
        return self.now


def account(**given: str) -> Any:
    return account_of(Some(**given), "guard", 1, Metrics())  # type: ignore[arg-type]


PLACE = "http://127.0.0.1:9000#0x" + "0a" * 20


def test_a_role_signs_with_its_key_wherever_that_is() -> None:
    assert account() is None
    assert account(guard_key=WATCHTOWER_KEY).address == Signer.of(WATCHTOWER_KEY, 1).address
    assert account(guard_signer=PLACE).address == b"\x0a" * 20
    assert not has_key(Some(), "guard")  # type: ignore[arg-type]
    assert has_key(Some(guard_signer=PLACE), "guard")  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="GUARD_KEY and RELAYER_GUARD_SIGNER are both set"):
        account(guard_key=WATCHTOWER_KEY, guard_signer=PLACE)
    with pytest.raises(InvalidSetting, match="RELAYER_GUARD_KEY is not set"):
        required_account(Some(), "guard", 1, Metrics())  # type: ignore[arg-type]


async def test_a_signer_that_failed_is_asked_as_its_file_says_since(server: SigningServer) -> None:
    own, other = LOCAL.address.hex(), "0a" * 20
    settings = Some(guard_signer=f"http://127.0.0.1:1#0x{own}")
    signer = account_of(settings, "guard", 31337, Metrics())  # type: ignore[arg-type]
    assert signer is not None
    places = f"{server.url}#0x{other}", f"aws-kms:x#0x{own}", "half", f"{server.url}#0x{own}"
    for settings.now in places:
        with pytest.raises(SignerFailed):
            await signer.signed(*FIELDS)
    assert await signer.signed(*FIELDS) == LOCAL.sign(*FIELDS)


def test_aws_needs_its_package_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InvalidSetting, match="pip install boto3"):
        account(guard_signer="aws-kms:alias/guard#0x" + "0a" * 20)


def test_aws_without_a_region_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoRegion:
        def client(self, name: str, config: dict[str, Any]) -> None:
            # No longer than we: its own patience is a minute.
            assert (config["connect_timeout"], config["read_timeout"]) == (20.0, 20.0)
            raise ValueError(f"{name}: you must specify a region")

    session = SimpleNamespace(Session=NoRegion)
    monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(session=session))
    monkeypatch.setitem(sys.modules, "botocore.config", SimpleNamespace(Config=dict))
    with pytest.raises(InvalidSetting, match="specify a region"):
        account(guard_signer="aws-kms:alias/guard#0x" + "0a" * 20)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "0x",
        "http://h",
        PLACE.replace("9000", "99999"),
        PLACE[:-40] + "f39Fd6e51aad88F6F4ce6aB8827279cffFb92267",
        "http://h#0x12",
        "ftp://h#0x" + "0a" * 20,
        "#0x" + "0a" * 20,
    ],
)
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match=r"is neither|no checksum"):
        place_of(SecretStr(place))
