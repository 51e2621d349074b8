"""What the containers of `make test-compose` need is there, or a sentence says what to install.

given a machine without one of the programs, or a user who is not root
  the sentence names it, and nothing is built
given all of them
  the stand-ins have each program that compose.yaml asks for by name
"""

import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from support.loading import REPOSITORY, loaded


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "tools")
    return loaded("tools/ensure_compose.py")


def test_what_a_machine_lacks_is_named(tool: ModuleType) -> None:
    assert tool.lacking(lambda name: f"/usr/bin/{name}", 0) == ""
    assert tool.lacking(lambda name: f"/usr/bin/{name}", 1_000) == "it needs root"
    said = tool.lacking(lambda name: None if name in ("runc", "buildah") else name, 0)
    assert said == "it needs buildah, runc (Debian: apt install buildah runc)"


def test_nothing_is_built_where_something_is_missing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(tool, "HOME", tmp_path / "compose")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.main() == 1
    assert capsys.readouterr().err.startswith("! ComposeMissing: it needs buildah, podman")
    assert not (tmp_path / "compose").exists()


def test_each_stand_in_is_built_for_an_image_that_compose_asks_for(tool: ModuleType) -> None:
    containerfile = (tool.STANDINS / "Containerfile").read_text()
    assert set(re.findall(r" AS (\w+)$", containerfile, re.MULTILINE)) == set(tool.SERVERS)
    services = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())["services"]
    for name in tool.SERVERS:
        assert services[name]["image"].startswith(f"${{{name.upper()}_IMAGE:-")


def test_every_program_of_a_build_has_storage_and_networks_of_its_own(tool: ModuleType) -> None:
    assert str(tool.HOME) in tool.environment()["CONTAINERS_STORAGE_CONF"]
    assert f'graphroot = "{tool.HOME}/storage"' in tool.STORAGE
    assert f'network_config_dir = "{tool.HOME}/networks"' in tool.CONTAINERS
