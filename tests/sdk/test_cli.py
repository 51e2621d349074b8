"""The `corechain` command without a network: quick, honest about failures, open to plug-ins."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import corechain
from support.http import Script, answers
from typer.main import get_command
from typer.testing import CliRunner

from corechain.audit import InvalidBatchId, Totals, fetch_data_file, parse_batch_id
from corechain.cli import app, load_plugins
from corechain.devnet.process import free_port
from corechain.kept_endpoints import InvalidEndpoints
from corechain.later import Later
from corechain.protocol.batch import batch_id
from corechain.protocol.hashing import Digest26
from corechain.protocol.reading import FAIL, PASS, SUSPECT
from corechain.protocol.vocabulary import metric
from corechain.status import Check, find_places, inspect
from corechain.steps import ApiUnavailable, Refused

COMMITMENT = Digest26(bytes(range(26)))


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def write_plugin(folder: Path, name: str, body: str) -> dict[str, str]:
    """A distribution with one plug-in; the environment in which it is installed."""
    (folder / f"{name}_plugin.py").write_text(body)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    entry = f"[corechain.commands]\n{name} = {name}_plugin:register\n"
    (information / "entry_points.txt").write_text(entry)
    return {"PYTHONPATH": str(folder)}


HEAVY = ("web3", "eth_account", "asyncpg", "starlette", "uvicorn", "redis", "httpx", "psutil")


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "corechain.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("status", "verify", "version", "up", "demo", "relayer", "indexer"):
        assert name in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "corechain.cli" in loaded or "typer" in loaded
    assert not loaded & set(HEAVY)


def test_what_the_list_says_of_a_command_is_how_its_own_help_begins() -> None:
    load_plugins()
    listed = {n: one for n, one in get_command(app).commands.items() if isinstance(one, Later)}
    assert listed.keys() >= {"query", "history", "up", "fleet", "relayer", "tx", "indexer"}
    for name, one in listed.items():
        own = one.loaded()
        assert (own.name, " ".join(own.help.split("\n\n")[0].split())) == (name, one.help)


OPERATORS = {
    "up", "demo", "fleet", "reconcile", "bridge", "bus", "challenger", "indexer", "relayer",
}  # fmt: skip
"""Who runs the network, or loads it: these run until they are stopped, or have their own forms."""


def commands_below(found: Any) -> Iterator[Any]:
    found = found.loaded() if isinstance(found, Later) else found
    if not hasattr(found, "commands"):
        yield found
    for one in getattr(found, "commands", {}).values():
        yield from commands_below(one)


def test_every_command_of_a_user_answers_programs_in_json() -> None:
    load_plugins()
    of_users = {n: one for n, one in get_command(app).commands.items() if n not in OPERATORS}
    assert of_users.keys() > {"status", "verify", "query", "channel", "stream", "receipt"}
    for group, found in of_users.items():
        for command in commands_below(found):
            options = {option for each in command.params for option in each.opts}
            assert "--json" in options, f"{group} {command.name}"


def test_a_shell_completes_below_a_command_that_is_not_loaded_yet() -> None:
    load_plugins()
    asked = {
        "_CORECHAIN_COMPLETE": "complete_bash",
        "COMP_WORDS": "corechain relayer rot",
        "COMP_CWORD": "2",
    }
    done = CliRunner().invoke(app, env=asked, prog_name="corechain")
    assert done.stdout.split() == ["rotate-key"]


def test_the_script_and_the_module_are_the_same_command() -> None:
    script = Path(sys.executable).with_name("corechain")
    done = subprocess.run([script, "version"], capture_output=True, text=True, check=True)
    assert done.stdout == corechain("version").stdout
    assert "corechain 0." in done.stdout


def test_a_plug_in_adds_its_command(tmp_path: Path) -> None:
    body = "def register(app):\n    app.command('hello')(lambda: print('hello there'))\n"
    done = corechain("hello", changes=write_plugin(tmp_path, "greeter", body))
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello there\n", "")


@pytest.mark.parametrize("body", ["1 / 0\n", "def register(app):\n    1 / 0\n", "import gone\n"])
def test_a_broken_plug_in_is_named_and_takes_nothing_else_away(body: str, tmp_path: Path) -> None:
    done = corechain("version", changes=write_plugin(tmp_path, "broken", body))
    assert done.returncode == 0
    assert "corechain 0." in done.stdout
    assert "warning: no commands from the plug-in broken (broken_plugin:register)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ([], r"corechain \d\S+\ncorechain-relayer \d\S+\ncorechain-indexer \d\S+\n"),
        (["relayer"], r"corechain-relayer \d\S+\n"),
        (["indexer"], r"corechain-indexer \d\S+\n"),
        (["bridge"], r"corechain-relayer \d\S+\n"),
        (["bus"], r"corechain-relayer \d\S+\n"),
    ],
    ids=["corechain", "relayer", "indexer", "bridge", "bus"],
)
def test_each_command_group_says_its_version(group: list[str], said: str) -> None:
    load_plugins()
    done = CliRunner().invoke(app, [*group, "--version"])
    assert done.exit_code == 0
    assert re.fullmatch(said, done.stdout)


def test_a_distribution_that_is_not_there_is_said_to_be_missing() -> None:
    show = "import corechain.cli as c; c.DISTRIBUTIONS = ['none']; c.show_version(as_json=False)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout == "none is not installed\n"


def test_an_error_of_ours_is_one_sentence_without_a_traceback() -> None:
    done = corechain("verify", "first")
    assert done.returncode == 1
    assert done.stderr == ("error: 'first' is not a batch id: give its number, or lane:number\n")
    assert done.stdout == ""


def test_verify_without_a_manifest_says_which_file_is_missing(tmp_path: Path) -> None:
    done = corechain("verify", "1", "--home", tmp_path)
    assert done.returncode == 1
    assert str(tmp_path / "31337.json") in done.stderr
    assert "--deployment" in done.stderr


def test_status_of_nothing_is_three_parts_down_and_exit_code_2(tmp_path: Path) -> None:
    places = {
        "CORECHAIN_RPC_URL": nowhere(),
        "CORECHAIN_GATEWAY_URL": nowhere(),
        "CORECHAIN_API_URL": nowhere(),
    }
    done = corechain("status", "--home", tmp_path, changes=places)
    assert done.returncode == 2
    assert done.stdout.count("down") == 3
    assert all(url in done.stdout for url in places.values())


@pytest.mark.parametrize("content", ["{", "[]", '{"anvil": "http://127.0.0.1:1"}'])
def test_a_damaged_endpoints_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text(content)
    with pytest.raises(InvalidEndpoints, match=r"endpoints\.json is damaged"):
        find_places(tmp_path, {})


def test_what_is_given_comes_before_what_runs_and_that_before_the_usual(tmp_path: Path) -> None:
    assert find_places(tmp_path, {"rpc": None}).rpc == "http://127.0.0.1:8545"
    written = {"anvil": "a", "relayer": "b", "indexer": "c", "deployment": "d"}
    (tmp_path / "endpoints.json").write_text(json.dumps(written))
    places = find_places(tmp_path, {"rpc": None, "api": "x"})
    assert (places.rpc, places.gateway, places.api) == ("a", "b", "x")
    assert places.deployment == Path("d")


def test_status_asks_each_process_of_a_relayer_that_runs_in_parts(tmp_path: Path) -> None:
    ready = Script(200, b"{}")
    with answers(ready) as gateway, answers(Script(503, b'{"failing": ["bus"]}')) as aggregator:
        written = {"anvil": "a", "relayer": gateway, "indexer": "c", "deployment": "d"}
        parts = {"aggregator": aggregator, "gateway": gateway}
        (tmp_path / "endpoints.json").write_text(json.dumps({**written, "parts": parts}))
        checks = {check.part: check for check in inspect(find_places(tmp_path, {}))}
        assert list(checks) == ["node", "relayer", "aggregator", "indexer"]
        assert checks["relayer"].works
        assert checks["aggregator"].detail == "/health: bus"
        assert find_places(tmp_path, {"gateway": "another"}).parts == {}


class Spoken(BaseHTTPRequestHandler):
    """A live service: `/ready` is what the server was given."""

    def do_GET(self) -> None:
        code, document = self.server.ready if self.path == "/ready" else (200, {})  # type: ignore[attr-defined]
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def saying(code: int, document: object) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Spoken) as server:
        server.ready = code, document  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def checks_of(url: str, folder: Path) -> dict[str, Check]:
    places = find_places(folder, {"rpc": url, "gateway": url, "api": url})
    return {check.part: check for check in inspect(places)}


@pytest.mark.parametrize("part", ["relayer", "indexer"])
def test_status_gives_the_reason_of_what_is_missing(part: str, tmp_path: Path) -> None:
    reasons = {"relay": "Valkey does not answer (3 s ago)", "cache": "no answer within 2 s"}
    document = {"failing": list(reasons), "reasons": reasons, "warnings": ["the disk is full"]}
    with saying(503, document) as url:
        found = checks_of(url, tmp_path)[part]
    assert found.state == "down"
    assert found.detail == (
        "/ready: relay: Valkey does not answer (3 s ago); cache: no answer within 2 s; "
        "warning: the disk is full"
    )


@pytest.mark.parametrize("part", ["relayer", "indexer"])
def test_a_service_with_a_warning_works_and_is_degraded(part: str, tmp_path: Path) -> None:
    with saying(200, {"status": "ok", "warnings": ["node is late [red]"]}) as url:
        found = checks_of(url, tmp_path)[part]
        changes = {"CORECHAIN_GATEWAY_URL": url, "COLUMNS": "200"}
        shown = corechain("status", "--home", tmp_path, changes=changes).stdout
    assert (found.state, bool(found.advice)) == ("degraded", True)
    assert found.detail.startswith("ready; warning: node is late [red]")
    assert "warning: node is late [red]" in shown, "what others say is no markup"


def test_a_role_that_shares_a_process_has_a_row(tmp_path: Path) -> None:
    loops = {"registry": "running", "watchtower": "running", "submitter": "halted"}
    reasons = {"submitter": "the nonce is taken (2 s ago)"}
    with saying(503, {"failing": ["submitter"], "reasons": reasons, "loops": loops}) as url:
        found = checks_of(url, tmp_path)
    assert list(found) == ["node", "relayer", "submitter", "watchtower", "indexer"]
    assert (found["watchtower"].state, found["watchtower"].detail) == ("ok", "running")
    assert found["submitter"].state == "down"
    assert found["submitter"].detail == "halted: the nonce is taken (2 s ago)"


@pytest.mark.parametrize(
    "document",
    [
        {"failing": "bus", "reasons": "bus", "warnings": {"a": 1}, "loops": ["x"]},
        {"failing": [{"a": 1}], "reasons": {"b": None}, "warnings": [7], "loops": {"mirror": 1}},
        {"failing": ["\x1b[2J" + "x" * 10_000]},
    ],
)
@pytest.mark.parametrize("code", [200, 503])
def test_members_of_other_types_do_no_harm(code: int, document: object, tmp_path: Path) -> None:
    with saying(code, document) as url:
        detail = checks_of(url, tmp_path)["relayer"].detail
    assert detail.isprintable()
    assert len(detail) < 1_000


@pytest.mark.parametrize(
    ("part", "answer", "said"),
    [
        ("node", Script(200, b"<html>"), "no JSON"),
        ("node", Script(200, b"[]"), "no JSON"),
        ("node", Script(200, b'{"error": {"message": "busy"}}'), "busy"),
        ("relayer", Script(503, b'{"failing": ["bus", "node"]}'), "/health: bus; node"),
        ("relayer", Script(503, b"{}"), "/health: HTTP 503"),
        ("indexer", Script(200, b"<html>"), "/ready: HTTP 200, no JSON"),
    ],
)
def test_a_part_that_answers_nonsense_is_down(
    part: str, answer: Script, said: str, tmp_path: Path
) -> None:
    with answers(answer) as url:
        places = find_places(tmp_path, {"rpc": url, "gateway": url, "api": url})
        checks = {check.part: check for check in inspect(places)}
    assert not checks[part].works
    assert said in checks[part].detail


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("7", 7), ("0:7", 7), ("1:1", batch_id(1, 1)), ("65535:4294967295", 2**48 - 1)],
)
def test_a_batch_is_named_by_its_id_or_by_lane_and_number(text: str, wanted: int) -> None:
    assert parse_batch_id(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", ":", "1:", ":1", "-1", "1.5", "0x1", str(2**48), "65536:0", "0:4294967296", "a:1", "٣"],
)
def test_what_is_no_batch_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidBatchId):
        parse_batch_id(text)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))
def test_both_ways_to_name_a_batch_agree(lane: int, number: int) -> None:
    wanted = batch_id(lane, number)
    assert parse_batch_id(f"{lane}:{number}") == parse_batch_id(str(wanted)) == wanted


def test_totals_show_what_nobody_can_interpret_without_inventing_a_unit() -> None:
    unknown = Totals(999)
    unknown.add(FAIL, 7)
    assert unknown.cells() == ("999", "–", "0", "0", "1", "–", "–", "–")
    known = Totals(metric("air_temperature").code)
    known.add(FAIL, 40_000)
    assert known.cells() == ("air_temperature", "Cel", "0", "0", "1", "–", "–", "–")
    known.add(SUSPECT, -150)
    known.add(PASS, 250)
    assert known.cells() == ("air_temperature", "Cel", "1", "1", "1", "0.50", "-1.5", "2.5")


def test_a_gateway_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(ApiUnavailable, match="no data file from the gateway"):
        fetch_data_file(nowhere(), COMMITMENT)


def test_a_refusal_with_a_problem_is_that_problem() -> None:
    body = b'{"type": "urn:corechain:error:NoSuchProblem", "detail": "not kept here"}'
    with answers(Script(404, body)) as url, pytest.raises(Refused, match="not kept here"):
        fetch_data_file(url, COMMITMENT)


def test_a_data_file_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corechain.audit.MAX_FILE_BYTES", 1000)
    with (
        answers(Script(200, bytes(1001))) as url,
        pytest.raises(ApiUnavailable, match="of 1000"),
    ):
        fetch_data_file(url, COMMITMENT)
    with answers(Script(200, bytes(1000))) as url:
        assert fetch_data_file(url + "/", COMMITMENT) == bytes(1000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--service", "explorer"], "one of relayer, indexer, not 'explorer'"),
        (["--service", "relayer", "--no-services"], "exclude each other"),
        (["--bus", "rabbit"], "is one of valkey, kafka"),
        (["--anvil-port", "0"], "--anvil-port"),
    ],
)
def test_up_with_options_that_mean_nothing_is_a_usage_error_and_starts_nothing(
    options: list[str], said: str, tmp_path: Path
) -> None:
    done = corechain("up", "--home", tmp_path / "home", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "home").exists()


def test_up_names_all_that_is_missing_before_it_starts_anything(tmp_path: Path) -> None:
    chosen = {"CORECHAIN_ANVIL": str(tmp_path / "anvil"), "SOLCX_BINARY_PATH": str(tmp_path)}
    done = corechain("up", "--home", tmp_path, changes=chosen)
    assert done.returncode == 1
    assert done.stderr == (
        "error: not installed:\n"
        f"  anvil at {tmp_path}/anvil: correct CORECHAIN_ANVIL\n"
        f"  the Solidity compiler in {tmp_path}: run `make setup` in a checkout of the CoreChain "
        "repository\n"
    )
    assert not (tmp_path / "postgres").exists()
