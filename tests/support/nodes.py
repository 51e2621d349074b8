"""The whole network on another node than our own anvil: geth, or a hosted provider's habits."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from eth_account import Account

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.devnet.demo import PRICE, QUERIES, SHORT_MONTHS, Demo
from corechain.devnet.errors import DeploymentFailed, MissingProgram
from corechain.devnet.network import Network
from corechain.devnet.process import Command, free_port
from corechain.devnet.promises import FEES, address_of
from corechain.devnet.servers import LOCALHOST, PROBE_TIMEOUT_S, AnvilServer, Server, rpc
from corechain.devnet.settings import (
    ADMIN_KEY,
    CHALLENGER_KEY,
    DEV_KEYS,
    RECEIPT_KEY,
    SUBMITTER_KEY,
    Endpoints,
    Ports,
)
from support.ape import ape
from support.processes import eventually
from support.provider import Habits, provider

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL_CHAIN_ID = 1337
ETHER = 10**18
DEPLOY_LIMIT_S = 600
ATTEMPTS = 5
"""A provider that is busy for a moment ends a deployment; running it again completes it."""
SETTINGS = {"RELAYER_MAX_READINGS": "4096", "RELAYER_MAX_AGE_S": "2"}


def find_geth() -> Path:
    """CORECHAIN_GETH, else what `make second-node` built. Raises MissingProgram."""
    path = Path(os.environ.get("CORECHAIN_GETH") or REPOSITORY / ".corechain" / "geth" / "geth")
    if not path.is_file():
        raise MissingProgram(f"geth at {path}", "run `make second-node` (it needs Go)")
    return path


class GethServer(Server):
    """`geth --dev`: a block a second, `finalized` stands still at block 0."""

    name = "geth"

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    def _command(self) -> Command:
        return Command([
            find_geth(), "--dev", "--dev.period", "1", "--cache", "16", "--ipcdisable",
            "--datadir", self.directory / "chain", "--nodiscover", "--maxpeers", "0",
            "--http", "--http.port", str(self.port), "--http.api", "eth,net,web3,txpool",
            "--authrpc.port", str(free_port()),
        ])  # fmt: skip

    def _is_ready(self) -> bool:
        try:
            return (
                int(rpc(self.url, "eth_chainId", timeout_s=PROBE_TIMEOUT_S), 16) == LOCAL_CHAIN_ID
            )
        except (OSError, ValueError):
            return False

    def fund(self) -> None:
        """Our public accounts get what anvil gives them."""
        (rich, *_) = rpc(self.url, "eth_accounts")
        accounts = [Account.from_key(key).address for key in DEV_KEYS]
        for account in accounts:
            payment = {"from": rich, "to": account, "value": hex(1_000 * ETHER)}
            rpc(self.url, "eth_sendTransaction", payment)

        def funded() -> bool:
            return all(int(rpc(self.url, "eth_getBalance", a, "latest"), 16) for a in accounts)

        assert eventually(funded)


class OtherNetwork(Network):
    """Our services and contracts on `node`, which everybody reaches at `node_url`."""

    def __init__(self, home: Path, node: Server, node_url: str | None = None) -> None:
        super().__init__(
            home, ports=Ports.free(), repository=REPOSITORY, price=PRICE, settings=SETTINGS
        )
        self._node, self._node_url = node, node_url

    @cached_property
    def anvil(self) -> Any:
        return self._node

    @property
    def urls(self) -> Endpoints:
        own = super().urls
        return replace(own, anvil=self._node_url) if self._node_url else own

    def _prepare_chain(self) -> None:
        """What anvil does for its accounts without a signature."""
        if isinstance(self._node, AnvilServer):
            super()._prepare_chain()
            return
        chain, submitter = Chain(self.urls.anvil, self.deployment), account_from_key(SUBMITTER_KEY)
        chain.name_receipt_signer(submitter, 0, address_of(RECEIPT_KEY))
        challenger = address_of(CHALLENGER_KEY)
        chain.send(account_from_key(ADMIN_KEY), "CoreToken", "transfer", challenger, FEES)

    def _deploy(self) -> None:
        said = ""
        for _ in range(ATTEMPTS):
            done = deploy(self.urls.anvil, self.manifest)
            if done.returncode == 0:
                return
            said = done.stdout + done.stderr
        raise DeploymentFailed(f"{ATTEMPTS} times", said)


def deploy(url: str, manifest: Path) -> "subprocess.CompletedProcess[str]":
    """`ape run deploy` to any node, as one does it to a network that Ape has no name for."""
    words = ["run", "deploy", "-v", "WARNING", "--network", f"ethereum:local:{url}"]
    environment = os.environ | {"DEPLOY_MANIFEST": str(manifest)}
    return ape().run(words, environment, REPOSITORY, DEPLOY_LIMIT_S)


@contextmanager
def on_geth(home: Path) -> Iterator[OtherNetwork]:
    """A network on a fresh `geth --dev`."""
    with GethServer(home / "geth") as node:
        node.fund()
        with OtherNetwork(home, node) as network:
            yield network


@contextmanager
def on_provider(home: Path, habits: Habits) -> Iterator[OtherNetwork]:
    """A network on anvil behind a proxy that imitates a hosted provider."""
    with (
        # Ape takes every local node that it does not know for chain 1337, and signs for that.
        AnvilServer(home / "anvil", chain_id=LOCAL_CHAIN_ID) as node,
        provider(node.url, habits) as hosted,
        OtherNetwork(home, node, hosted.url) as network,
    ):
        yield network


def show(network: Network) -> None:
    """The demo, with its numbers as on anvil: every reading arrives, is proven and paid."""
    findings = Demo(network, SHORT_MONTHS).run()
    assert findings.refused == 0
    assert findings.accepted > 0
    assert findings.mean is not None
    assert (findings.mean.count, f"{findings.mean.mean:.2f}") == (744, "17.40")
    assert findings.proofs_by_contract > 0
    assert findings.queries == QUERIES
    assert findings.rewards > 0
