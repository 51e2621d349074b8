"""What `ape run deploy` says when network, account or chain are not fit: a sentence, no traceback.

given a public network, an account and parameters
├── what is missing or wrong is named, with what to do
└── a transaction that fails leaves a manifest to go on with
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ape_runs import REPOSITORY, UNSET, is_true, refused, run
from eth_account import Account

from corechain.devnet.servers import AnvilServer, rpc

LIVE = "arbitrum:sepolia"
SEPOLIA = 421_614
KEY = "0x" + 32 * "5e"
PASSPHRASE = "of the tests"
# Compiled by now: two that compile at once would write the same file.
pytestmark = pytest.mark.usefixtures("deployed_home")


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


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ARBITRUM_SEPOLIA_RPC_URL": UNSET}, "export ARBITRUM_SEPOLIA_RPC_URL=https://"),
        ({"ARBITRUM_SEPOLIA_RPC_URL": "http://127.0.0.1:1"}, "Check its address."),
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
    is_true(sepolia.url, json.loads(manifest.read_text()), {"contracts": {}})
    assert "the admin must call assignLane" in done.stdout
