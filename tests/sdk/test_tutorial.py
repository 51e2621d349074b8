"""The tutorial, done as it says: each block of Python, in order, then its command.

given the network that `make up` starts
  a new device's three readings end as a proven mean of 2.5, in Python and in the shell
"""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from corechain.cli import app
from corechain.devnet.network import Network

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def at_home(network: Network, code: str) -> str:
    """The block with the places of this network for the usual ones."""
    urls = network.urls
    for usual, ours in (
        ("http://127.0.0.1:8702", urls.indexer),
        ("http://127.0.0.1:8701", urls.relayer),
        ("http://127.0.0.1:8545", urls.anvil),
        (".corechain/31337.json", str(network.manifest)),
    ):
        code = code.replace(usual, ours)
    return code


def test_the_tutorial_ends_with_a_proven_mean(
    network: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    for code in blocks("python"):
        exec(compile(at_home(network, code), str(PAGE), "exec"), known)
    assert "\n3 2.5 1.5 3.5\n" in capsys.readouterr().out
    rows = (tmp_path / "station.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    assert told(network, known["device"]) == "3"


def told(network: Network, device: bytes) -> str:
    """The count that the page's own command prints for this device."""
    (command,) = [line for line in "".join(blocks("sh")).splitlines() if " query " in line]
    words = command.replace("0x…", "0x" + device.hex()).split()[1:]
    urls = network.urls
    places = {
        "CORECHAIN_API_URL": urls.indexer,
        "CORECHAIN_RPC_URL": urls.anvil,
        "CORECHAIN_DEPLOYMENT": str(network.manifest),
    }
    done = CliRunner(env=places).invoke(app, words)
    assert done.exit_code == 0, done.output
    (count,) = re.findall(r"^count: +(\d+)$", done.stdout, re.M)
    return str(count)


@pytest.mark.parametrize("program", ["examples/cover/run.py", ".venv/bin/activate"])
def test_what_the_tutorial_starts_is_where_it_says(program: str) -> None:
    assert program in PAGE.read_text()
    assert (PAGE.parents[1] / program).exists()
