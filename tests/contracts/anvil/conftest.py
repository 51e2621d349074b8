"""The contracts on an anvil, driven by our own encoders; each test leaves the chain as it was."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain import reverted_after
from support.stage import Stage, set_stage

from corechain.devnet.servers import AnvilServer

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session", autouse=True)
def artefacts() -> None:
    """What is tested is what stands in contracts/, not what was compiled some day."""
    forge = ROOT / "node_modules" / ".tools" / "forge"
    # Without the Solidity tests, whose compilation takes minutes: as in the Makefile.
    words = ["build", "--skip", "tests/**", "--build-info", "--quiet"]
    subprocess.run([forge, *words], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def chain(artefacts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with AnvilServer(tmp_path_factory.mktemp("anvil")) as server:
        yield server.url


@pytest.fixture(scope="module")
def deployed(chain: str) -> Stage:
    return set_stage(chain)


@pytest.fixture
def stage(deployed: Stage) -> Iterator[Stage]:
    with reverted_after(deployed.bench.url):
        yield deployed
