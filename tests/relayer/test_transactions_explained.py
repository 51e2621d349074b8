"""`corechain tx` says why a transaction is not in a block, and what to do.

given any journal and node
  there is a sentence, a name for each cause, and no failure
given each cause by itself
  it is named, with what to do, and stuck is what does not go on by itself
given several nodes that agree on nothing
  its operator is told which of them is where, without their secrets
given the command
  it prints tables and sentences, or one JSON document, and its exit code says how it went
"""

import asyncio
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from corechain.cli import app
from corechain.devnet.settings import ADMIN_KEY
from corechain.service.database import connect
from corechain.service.quorum import Quorum
from corechain_relayer.cli import register
from corechain_relayer.submitter.plan import State
from corechain_relayer.transactions.explain import GWEI, Explanation, Facts, explain
from corechain_relayer.transactions.node_facts import NodeAway, NodeFacts, ask_node
from corechain_relayer.transactions.rows import Ahead, AttemptRow, QueueLook, Reason, Transaction

NOW = datetime(2026, 11, 29, tzinfo=UTC)
SENDER = b"\5" * 20
HASH = b"\7" * 32
OPEN = Transaction(
    id=7,
    key="batch:7",
    queue="lane:0",
    state=State.PENDING,
    sender=SENDER,
    nonce=4,
    transaction=None,
    block=None,
    gas_used=None,
    created_at=NOW,
    halt=None,
    wait=None,
    pause=None,
    cancel=None,
    bump=None,
    bump_since=None,
    spent_block=None,
    failures=0,
    ended_because=None,
    attempts=1,
)
SIGNED = AttemptRow(HASH, SENDER, 4, 100 * GWEI, GWEI, 50.0, 51.0, False, False)
LOOK = QueueLook(SENDER, 1_000 * GWEI, 16, True, None, 1.0)
NODE = NodeFacts(900, 50 * GWEI, 4, 10**18)
FINE = Facts(OPEN, [SIGNED], None, LOOK, NODE, 60.0)
QUEUED = replace(OPEN, state=State.QUEUED, nonce=None, sender=None, attempts=0)
WHY = Reason("KeepsReverting", "three transactions reverted", NOW)
STOPPED = replace(OPEN, pause=replace(WHY, kind="QueuePaused"))


async def test_an_operator_is_told_which_node_is_which() -> None:
    rpc = Quorum(["http://user:key@127.0.0.1:7/key", "http://127.0.0.1:9/key?key=1"], 2, 1.0, 4)
    said = await ask_node(rpc, None)
    await rpc.close()
    assert isinstance(said, NodeAway)
    assert "2 nodes must agree and 0 answered (node 1: " in said.why
    assert said.why.endswith("(node 1 is 127.0.0.1:7, node 2 is 127.0.0.1:9)")
    assert "key" not in said.why


def about(transaction: Transaction = OPEN, **changes: Any) -> Facts:
    return replace(FINE, transaction=transaction, **changes)


CASES = [
    (about(), "InPool", False, "bids up to 100 gwei at a base fee of 50 gwei, 1 gwei of it"),
    (about(node=replace(NODE, knows=True)), "InPool", False, "can be in any block"),
    (about(node=replace(NODE, knows=False)), "NotInPool", False, "no node has it"),
    (about(STOPPED, node=replace(NODE, knows=False)), "NotInPool", True, "once that is over"),
    (about(attempts=[replace(SIGNED, sent_at=None)]), "NotTaken", False, "sent again"),
    (about(attempts=[replace(SIGNED, max_fee=GWEI)]), "FeeBelowBase", True, "tx bump batch:7"),
    (
        about(node=replace(NODE, base_fee=200 * GWEI), look=replace(LOOK, max_fee=110 * GWEI)),
        "FeeBelowBase",
        True,
        "raise RELAYER_MAX_FEE_PER_GAS",
    ),
    (about(node=replace(NODE, count=3), owner="batch:6"), "WaitsForNonce", False, "of batch:6"),
    (about(node=replace(NODE, count=3)), "NonceGap", True, "is filled soon"),
    (about(node=replace(NODE, count=5)), "NonceSpent", False, "the next look tells"),
    (about(node=NodeAway("HTTP 502")), "NodeAway", True, "HTTP 502"),
    (about(node=replace(NODE, balance=0)), "NoFunds", True, "fund it"),
    (about(days_left=0.5), "LowFunds", False, "0.5 days"),
    (about(look=None), "NoSubmitter", True, "--role submitter"),
    (about(look=replace(LOOK, age_s=500.0)), "NoSubmitter", True, "for 500 s"),
    (about(look=replace(LOOK, problem="the key is not ours")), "QueueInTrouble", True, "not ours"),
    (about(replace(OPEN, halt=WHY)), "KeepsReverting", True, "relayer release --intent batch:7"),
    (
        about(replace(OPEN, halt=replace(WHY, kind="OtherCommitment"))),
        "OtherCommitment",
        True,
        "start the lane with an empty database and all data files of both",
    ),
    (about(replace(OPEN, wait=WHY)), "KeepsReverting", True, "tried again by itself"),
    (
        about(replace(OPEN, pause=replace(WHY, kind="QueuePaused"))),
        "QueuePaused",
        True,
        "corechain tx resume lane:0",
    ),
    (about(STOPPED, attempts=[replace(SIGNED, sent_at=None)]), "NotTaken", True, "is over, it is"),
    (about(STOPPED, attempts=[]), "NextInTurn", True, "once that is over, it is signed anew"),
    (about(STOPPED, node=replace(NODE, count=3)), "NonceGap", True, "filled once that is over"),
    (about(replace(STOPPED, bump=HASH)), "Bumping", True, "once that is over"),
    (about(replace(OPEN, bump=HASH, wait=WHY)), "Bumping", True, "once that is over"),
    (
        about(replace(OPEN, bump=HASH), look=replace(LOOK, problem="the budget is used up")),
        "Bumping",
        True,
        "once that is over",
    ),
    (about(replace(OPEN, spent_block=8)), "FinalAwaited", False, "signed anew"),
    (about(replace(OPEN, bump=HASH)), "Bumping", False, "next round"),
    (
        about(replace(OPEN, bump=HASH), look=replace(LOOK, max_fee=110 * GWEI)),
        "FeeCapped",
        True,
        "raise RELAYER_MAX_FEE_PER_GAS",
    ),
    (about(replace(OPEN, cancel=WHY)), "Cancelling", False, "will be signed"),
    (
        about(replace(OPEN, cancel=WHY), attempts=[replace(SIGNED, cancels=True)]),
        "Cancelling",
        False,
        "is sent",
    ),
    (about(QUEUED, attempts=[]), "NextInTurn", False, "nothing is signed"),
    (
        about(QUEUED, attempts=[], ahead=Ahead(3, "batch:4", "pending")),
        "WaitsForEarlier",
        False,
        "corechain tx explain batch:4",
    ),
    (
        about(QUEUED, ahead=Ahead(1, "x", "queued"), look=replace(LOOK, ordered=False)),
        "WaitsForItsTurn",
        False,
        "1 is before it",
    ),
    (
        about(replace(OPEN, state=State.VOID, ended_because="the demand is closed")),
        "Void",
        False,
        "the demand is closed",
    ),
    (
        about(replace(OPEN, state=State.CONFIRMED, transaction=HASH, block=9)),
        "FinalAwaited",
        False,
        "our transaction 0x0707",
    ),
    (
        about(replace(OPEN, state=State.FINAL, transaction=b"\1" * 32, block=9)),
        "Final",
        False,
        "not ours",
    ),
]


@pytest.mark.parametrize(("facts", "reason", "stuck", "words"), CASES)
def test_each_cause_has_a_name_a_sentence_and_what_to_do(
    facts: Facts, reason: str, stuck: bool, words: str
) -> None:
    said = explain(facts)
    assert reason in said.reasons
    assert said.stuck is stuck
    assert words in " ".join(said.sentences)


reasons = st.one_of(st.none(), st.just(WHY))


@settings(max_examples=50)
@given(
    state=st.sampled_from(State),
    held=st.tuples(reasons, reasons, reasons, reasons),
    nonce=st.one_of(st.none(), st.integers(0, 9)),
    count=st.one_of(st.none(), st.integers(0, 9)),
    signed=st.integers(0, 2),
    look=st.one_of(st.none(), st.just(LOOK)),
    away=st.booleans(),
)
def test_whatever_journal_and_node_say_there_is_a_sentence(
    state: State,
    held: tuple[Any, Any, Any, Any],
    nonce: int | None,
    count: int | None,
    signed: int,
    look: QueueLook | None,
    away: bool,
) -> None:
    halt, wait, pause, cancel = held
    found = replace(OPEN, state=state, nonce=nonce, halt=halt, wait=wait)
    found = replace(found, pause=pause, cancel=cancel, transaction=HASH, block=1)
    node = NodeAway("away") if away else replace(NODE, count=count)
    said: Explanation = explain(
        about(found, attempts=[SIGNED] * signed, look=look, node=node)  # type: ignore[arg-type]
    )
    json.dumps(said.document() | found.document())
    if state is not State.PENDING or nonce is not None:
        assert said.sentences
    assert len(said.sentences) == len(said.reasons)


def test_a_nonce_that_is_spent_is_not_said_to_be_replaced() -> None:
    said = explain(about(replace(OPEN, bump=HASH, spent_block=8)))
    assert said.reasons == ["FinalAwaited"]


# ---------------------------------------------------------------------- the command

if not any(group.name == "tx" for group in app.registered_groups):
    register(app)


@pytest.fixture
def command(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["tx", *words])
        assert done.exit_code == code, done.output
        return done.output

    return run


INTENTS = """
    insert into intent (queue, key, target, calldata, state)
    values ('lane:0', 'batch:1', $1, '', 'queued'), ('rewards', 'rewards:1', $1, '', 'queued')
"""


@pytest.fixture
def intents(database: str) -> None:
    async def insert() -> None:
        connection = await connect(database)
        await connection.execute(INTENTS, SENDER)
        await connection.close()

    asyncio.run(insert())


def test_the_command_lists_shows_explains_and_takes_wishes(intents: None, command: Any) -> None:
    listed = json.loads(command("list", "--json"))
    assert [item["key"] for item in listed] == ["rewards:1", "batch:1"]
    assert "batch:1" in command("list", "--queue", "lane:0")
    shown = json.loads(command("show", "batch:1", "--json"))
    assert (shown["state"], shown["attempts"], shown["stuck"]) == ("queued", [], True)
    assert "NoSubmitter" in shown["reasons"]
    assert "No process has ever looked after lane:0" in command("show", "batch:1")
    assert "--role submitter" in command("explain", "batch:1", code=3)

    assert "chained" in command("cancel", "batch:1", code=1)
    assert "nothing is signed" in command("bump", "batch:1", code=1)
    done = json.loads(command("cancel", "rewards:1", "--reason", "wrong root", "--json"))
    assert done["state"] == "void"
    assert "cancelled: wrong root" in command("explain", "rewards:1")
    paused = command("pause", "lane:0", "--reason", "fees")
    assert paused == "lane:0: paused (reason fees, was_paused False)\n"
    assert json.loads(command("list", "--json"))[0]["paused"]["reason"] == "fees"
    assert "resumed" in command("resume", "lane:0")
    assert [item["state"] for item in json.loads(command("list", "--all", "--json"))] == [
        "void",
        "queued",
    ]


def test_the_command_refuses_by_a_sentence_and_an_exit_code(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no transaction batch:9" in command("show", "batch:9", code=1)
    assert "no queue lane:9" in command("pause", "lane:9", code=1)
    assert "a journal of its own" in command("list", "--queue", "vetoes", code=1)
    assert "a state is one of queued" in command("list", "--state", "lost", code=2)
    for words in (["show"], ["list", "--queue"], ["pause"], ["pause", "lane:0", "--reason"]):
        for text in ("", "\udcff", "two\nlines", "\x1b[2J"):
            assert "not a line of text" in command(*words, text, code=2)
    monkeypatch.setenv("RELAYER_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    assert "error: " in command("list", code=1)
    failed = CliRunner().invoke(app, ["tx", "list", "--json"])
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: Postgres")
    monkeypatch.setenv("RELAYER_RPC_TIMEOUT_S", "never")
    assert "RELAYER_RPC_TIMEOUT_S" in command("list", code=2)


SUBMITTER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
NEEDED = ("RELAYER_DATABASE_URL", "RELAYER_RPC_URL", "RELAYER_DEPLOYMENT")
ON_A_HOME = [
    ["tx", "list", "--json"],
    ["relayer", "lanes"],
    ["relayer", "release"],
    ["relayer", "rotate-key", "--lane", "0", "--to", SUBMITTER],
]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment that says nothing of a relayer; the working folder."""
    for name in list(os.environ):
        if name.startswith("RELAYER_") or name == "CORECHAIN_HOME":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", ON_A_HOME, ids=lambda words: words[1])
def test_a_command_of_the_journal_needs_journal_node_and_manifest_alone(
    words: list[str],
    intents: None,
    environment: dict[str, str],
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in NEEDED:
        monkeypatch.setenv(name, environment[name])
    monkeypatch.setenv("RELAYER_ADMIN_KEY", ADMIN_KEY)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)


@pytest.mark.parametrize("words", ON_A_HOME, ids=lambda words: words[1])
def test_a_home_stands_for_the_settings_of_the_network_that_runs_there(
    words: list[str],
    intents: None,
    environment: dict[str, str],
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {name: environment[name] for name in NEEDED} | {"RELAYER_ADMIN_KEY": ADMIN_KEY}
    (bare / ".corechain").mkdir()
    (bare / ".corechain" / "endpoints.json").write_text(json.dumps({"operator": found}))
    assert CliRunner().invoke(app, words).exit_code == 0
    # What is half set means a relayer that is not this machine's.
    monkeypatch.setenv("RELAYER_RPC_URL", "http://127.0.0.1:1")
    refused = CliRunner().invoke(app, words)
    assert (refused.exit_code, "are not set" in refused.output) == (2, True)
    assert CliRunner().invoke(app, [*words, "--home", ".corechain"]).exit_code == 0
    elsewhere = CliRunner().invoke(app, [*words, "--home", "elsewhere"])
    assert (elsewhere.exit_code, "no network runs in elsewhere" in elsewhere.output) == (2, True)
