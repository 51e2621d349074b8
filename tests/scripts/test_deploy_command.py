"""`ape run deploy` as a user runs it, as a process, against a real chain.

given an activated environment and nothing else of ours in it
├── `ape compile` and `ape run deploy` find compiler and node
├── killed in the middle, with a transaction on its way: the next run completes the manifest
└── when the network, the account or the chain is not fit: one sentence, no traceback
"""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_account import Account

from corechain.deployment import load_deployment
from corechain.devnet.servers import AnvilServer, rpc

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL, LIVE = "ethereum:local:foundry", "arbitrum:sepolia"
SEPOLIA = 421_614
LIMIT_S = 300
KEY = "0x" + 32 * "5e"
PASSPHRASE = "of the tests"
UNSET = "unset"


def run(
    user: dict[str, str], *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in {**user, **variables}.items() if value != UNSET}
    return subprocess.run(
        ["ape", *arguments], env=given, cwd=REPOSITORY, text=True,
        capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip


def refused(user: dict[str, str], *arguments: str, **variables: str) -> str:
    """What a failed run says, in one line."""
    done = run(user, "run", "deploy", "-v", "WARNING", *arguments, **variables)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    return " ".join(said.split())


def code_at(url: str, address: str, block: int) -> str:
    return str(rpc(url, "eth_getCode", address, hex(block)))


@pytest.fixture(scope="module")
def sepolia(server_home: Path) -> Iterator[AnvilServer]:
    """A chain with the number of a public one, and one account that is no test account."""
    with AnvilServer(server_home / "sepolia", chain_id=SEPOLIA, block_time_s=1) as server:
        yield server


@pytest.fixture
def live(user: dict[str, str], sepolia: AnvilServer, tmp_path: Path) -> dict[str, str]:
    """A user with an account called `deployer` and filled-in parameters."""
    example = REPOSITORY / "deployments" / "arbitrum-sepolia.example.yaml"
    values: dict[str, Any] = yaml.safe_load(example.read_text())
    roles = ("admin", "submitter", "proposer", "guardian", "treasury")
    values |= {role: f"0x{number:040x}" for number, role in enumerate(roles, start=0xC0)}
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(values))
    accounts = tmp_path / "ape" / "accounts"
    accounts.mkdir(parents=True)
    encrypted = Account.encrypt(KEY, PASSPHRASE, kdf="pbkdf2", iterations=2)
    (accounts / "deployer.json").write_text(json.dumps(encrypted))
    return user | {
        "ARBITRUM_SEPOLIA_RPC_URL": sepolia.url,
        "DEPLOY_PARAMETERS": str(tmp_path / "parameters.yaml"),
        "DEPLOY_MANIFEST": str(tmp_path / "421614.json"),
        "DEPLOY_PASSPHRASE": PASSPHRASE,
    }


def fund(url: str, amount: int) -> None:
    rpc(url, "anvil_setBalance", Account.from_key(KEY).address, hex(amount))


def test_ape_finds_compiler_and_node_from_the_activated_environment(
    user: dict[str, str], tmp_path: Path
) -> None:
    compiled = run(user, "compile")
    assert compiled.returncode == 0, compiled.stderr
    manifest = tmp_path / "31337.json"
    done = run(user, "run", "deploy", "--network", LOCAL, DEPLOY_MANIFEST=str(manifest))
    assert done.returncode == 0, done.stderr
    assert load_deployment(manifest).first_block > 0


def test_a_killed_run_is_completed_by_the_next_one(user: dict[str, str], tmp_path: Path) -> None:
    manifest = tmp_path / "31337.json"
    # Blocks come by the clock, so that the kill meets a transaction that is in none yet.
    with AnvilServer(tmp_path / "anvil", block_time_s=1) as anvil:
        variables = {**user, "APE_FOUNDRY_HOST": anvil.url, "DEPLOY_MANIFEST": str(manifest)}
        command = ["ape", "run", "deploy", "--network", LOCAL]
        with subprocess.Popen(
            command, env=variables, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        ) as popen:
            assert popen.stdout is not None
            for line in popen.stdout:
                if line.startswith("  CoreToken"):
                    _wait_for_pending(anvil.url)
                    popen.send_signal(signal.SIGKILL)
                    break
        assert manifest.exists(), "the run ended by itself, before the kill"
        left = json.loads(manifest.read_text())
        assert sorted(left["contracts"]) == ["BatchChallenges", "CoreToken", "DeviceRegistry"]
        assert left["finished"] is False
        done = run(variables, "run", "deploy", "--network", LOCAL)
        assert done.returncode == 0, done.stderr
        _is_true(anvil.url, json.loads(manifest.read_text()), left)


def test_a_node_that_forgot_the_past_asks_for_the_block(
    user: dict[str, str], tmp_path: Path
) -> None:
    """anvil keeps blocks but no states through a restart."""
    manifest = tmp_path / "31337.json"
    with AnvilServer(tmp_path / "anvil", keep_state=True) as anvil:
        local = {**user, "APE_FOUNDRY_HOST": anvil.url, "DEPLOY_MANIFEST": str(manifest)}
        assert run(local, "run", "deploy", "--network", LOCAL).returncode == 0
        rpc(anvil.url, "anvil_mine", hex(300))
        anvil.stop()
        manifest.unlink()
        anvil.start()
        said = refused(local, "--network", LOCAL)
        assert "DeviceRegistry is at 0x" in said
        assert "--first-block N" in said
        assert not manifest.exists()
        done = run(local, "run", "deploy", "--network", LOCAL, "--first-block", "7")
        assert done.returncode == 0, done.stderr
    entries = json.loads(manifest.read_text())["contracts"].values()
    assert [entry["block"] for entry in entries] == [7] * 8


def _wait_for_pending(url: str) -> None:
    account = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

    def count(block: str) -> int:
        return int(rpc(url, "eth_getTransactionCount", account, block), 16)

    while count("pending") == count("latest"):
        pass


def _is_true(url: str, whole: dict[str, Any], left: dict[str, Any]) -> None:
    assert whole["finished"] is True
    assert whole["contracts"].items() >= left["contracts"].items()
    assert len(whole["contracts"]) == 8
    for entry in whole["contracts"].values():
        receipt = rpc(url, "eth_getTransactionReceipt", entry["tx"])
        assert int(receipt["blockNumber"], 16) == entry["block"]
        assert code_at(url, entry["address"], entry["block"]) != "0x"
        assert code_at(url, entry["address"], entry["block"] - 1) == "0x"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ARBITRUM_SEPOLIA_RPC_URL": UNSET}, "export ARBITRUM_SEPOLIA_RPC_URL=https://"),
        ({"ARBITRUM_SEPOLIA_RPC_URL": "http://127.0.0.1:1"}, "Check its address."),
        ({"DEPLOY_PARAMETERS": "nowhere.yaml"}, "nowhere.yaml does not exist: copy"),
        ({"DEPLOY_PASSPHRASE": "wrong"}, "DEPLOY_PASSPHRASE must be its passphrase"),
        ({"DEPLOY_PARAMETERS": "deployments/ethereum-local.yaml"}, "PublicKey: admin"),
    ],
)
def test_what_the_user_has_to_mend_is_one_sentence(
    live: dict[str, str], sepolia: AnvilServer, variables: dict[str, str], said: str
) -> None:
    fund(sepolia.url, 10**18)
    assert said in refused(live, "--network", LIVE, "--account", "deployer", **variables)


def test_a_node_of_another_chain_is_the_wrong_network(live: dict[str, str], anvil: str) -> None:
    said = refused(live, "--network", LIVE, "--account", "deployer", ARBITRUM_SEPOLIA_RPC_URL=anvil)
    assert "Wrong network" in said
    assert "31337" in said
    assert str(SEPOLIA) in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs --account <alias>"),
        (("--account", "nobody"), "no account is called 'nobody'"),
    ],
)
def test_an_account_that_is_not_there_is_named(
    live: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(live, "--network", LIVE, *arguments)


@pytest.mark.parametrize(("funds", "said"), [(0, "has nothing to pay with"), (10**9, "cannot pay")])
def test_an_account_without_funds_is_told_to_get_some(
    live: dict[str, str], sepolia: AnvilServer, funds: int, said: str
) -> None:
    fund(sepolia.url, funds)
    assert said in refused(live, "--network", LIVE, "--account", "deployer")


def test_a_transaction_that_fails_leaves_a_manifest_to_go_on_with(
    live: dict[str, str], sepolia: AnvilServer
) -> None:
    """DataBatches is larger than what the block has room for; the three before it are not."""
    manifest = Path(live["DEPLOY_MANIFEST"])
    fund(sepolia.url, 10**18)
    rpc(sepolia.url, "evm_setBlockGasLimit", hex(4_000_000))
    said = refused(live, "--network", LIVE, "--account", "deployer")
    assert "A transaction failed" in said
    assert "run the same command again" in said
    assert sorted(json.loads(manifest.read_text())["contracts"]) == [
        "BatchChallenges",
        "CoreToken",
        "DeviceRegistry",
    ]
    rpc(sepolia.url, "evm_setBlockGasLimit", hex(30_000_000))
    done = run(live, "run", "deploy", "--network", LIVE, "--account", "deployer")
    assert done.returncode == 0, done.stderr
    _is_true(sepolia.url, json.loads(manifest.read_text()), {"contracts": {}})
    assert "the admin must call assignLane" in done.stdout
