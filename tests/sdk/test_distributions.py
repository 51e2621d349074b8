"""What the three packages say of themselves."""

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


def test_the_licence_is_apache_2_0_as_a_whole() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text.splitlines()[0]
    assert "END OF TERMS AND CONDITIONS" in text
    assert "[LICENSE](LICENSE)" in (REPOSITORY / "README.md").read_text()
