"""The operator's book: every page begins with a command, and what it names is there."""

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from corechain_indexer.cli import commands as indexer
from corechain_indexer.settings import Settings as IndexerSettings
from corechain_relayer.bridge.settings import Settings as BridgeSettings
from corechain_relayer.bus.cli import commands as bus
from corechain_relayer.cli import commands as relayer
from corechain_relayer.settings import Settings as RelayerSettings

REPOSITORY = Path(__file__).resolve().parents[2]
BOOK = REPOSITORY / "docs" / "operators"
PAGES = sorted(BOOK.glob("*.md"))
NAMES = [path.name for path in PAGES]
SETTINGS = {"RELAYER": RelayerSettings, "INDEXER": IndexerSettings, "BRIDGE": BridgeSettings}


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", text).strip().lower().replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_begins_with_a_command(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert next(line for line in lines[1:] if line) == "```sh"


@pytest.mark.parametrize("page", [*PAGES, BOOK.parent / "operators.md"], ids=[*NAMES, "operators"])
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or there.suffix != ".md" or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_names_commands_and_settings_that_exist(page: Path) -> None:
    text = page.read_text()
    for service, words in re.findall(r"corechain (relayer|indexer|bus)((?: [a-z][a-z-]*)+)", text):
        group = {"relayer": relayer, "indexer": indexer, "bus": bus}[service]
        assert _is_command(group, words.split()), f"corechain {service}{words}"
    for prefix, name in re.findall(r"\b(RELAYER|INDEXER|BRIDGE)_([A-Z0-9_]*[A-Z0-9])\b", text):
        fields = SETTINGS[prefix].model_fields
        field = name.lower()
        # A name that a page cuts short (`INDEXER_ALERT_…`) has the beginning of one.
        known = field in fields or field.removesuffix("_file") in fields
        assert known or any(each.startswith(f"{field}_") for each in fields), f"{prefix}_{name}"


def _is_command(group: typer.Typer, words: list[str]) -> bool:
    found = get_command(group)
    for word in words:
        inside = getattr(found, "commands", None)
        if inside is None:
            return True  # an argument
        if word not in inside:
            return False
        found = inside[word]
    return True
