"""The operator's book: every page begins with a command, and settings that it names are there
(commands: test_docs_blocks). Links of all pages of the repository lead somewhere."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from corechain.rpc_errors import RpcFailure
from corechain_indexer.settings import Settings as IndexerSettings
from corechain_relayer import errors
from corechain_relayer.bridge.settings import Settings as BridgeSettings
from corechain_relayer.settings import Settings as RelayerSettings
from corechain_relayer.submitter import budget, grounds, held, memory, node
from corechain_relayer.submitter.outgoing import KNOWN
from corechain_relayer.transactions import explain

REPOSITORY = Path(__file__).resolve().parents[2]
BOOK = REPOSITORY / "docs" / "operators"
PAGES = sorted(BOOK.glob("*.md"))
NAMES = [path.name for path in PAGES]
SETTINGS = {"RELAYER": RelayerSettings, "INDEXER": IndexerSettings, "BRIDGE": BridgeSettings}


FOREIGN = {"node_modules", "out", "cache", "build", "dist", "libsecp256k1", "results"}
"""Folders of what is fetched or made. No question to git: an unpacked archive has none."""


def pages_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in FOREIGN:
            yield from pages_below(path)
        elif path.suffix == ".md":
            yield path


EVERY_PAGE = [path.relative_to(REPOSITORY).as_posix() for path in pages_below(REPOSITORY)]
WRITTEN_TO = {
    "bench/capacity.template.md": "docs/capacity.md",
    "tests/contracts/gas/gas.template.md": "docs/gas.md",
    "tools/mutants/mutants.template.md": "docs/mutants.md",
}


def links(page: Path) -> list[str]:
    """Targets within the repository. Code is shown as it stands, also where it looks like one."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", "", text)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match("[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", text).strip().lower().replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_begins_with_a_command(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert next(line for line in lines[1:] if line) == "```sh"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=str)
def test_what_a_page_links_to_is_there(page: str) -> None:
    # GitHub shows a template where it is written to, and links count from there.
    shown = REPOSITORY / WRITTEN_TO.get(page, page)
    for target in links(REPOSITORY / page):
        path, _, anchor = target.partition("#")
        there = (shown.parent / path).resolve() if path else shown
        assert there.exists(), target
        assert there.is_relative_to(REPOSITORY), f"{target} leads out of the repository"
        assert not anchor or there.suffix != ".md" or anchor in anchors(there), target


def test_each_template_has_a_place_that_it_is_written_to() -> None:
    assert {page for page in EVERY_PAGE if page.endswith(".template.md")} == set(WRITTEN_TO)
    assert all((REPOSITORY / path).exists() for path in WRITTEN_TO.values())


def test_results_that_pages_call_kept_in_the_repository_are() -> None:
    kept = (REPOSITORY / ".gitignore").read_text().splitlines()
    found = set()
    for page in EVERY_PAGE:
        text = (REPOSITORY / page).read_text()
        found |= set(re.findall(r"`(bench/results/[^`]+)`[^.\n]{0,40}in the repository", text))
    assert found, "the sentence is worded otherwise: mend this test"
    for file in found:
        assert (REPOSITORY / file).exists(), file
        assert f"!/{file}" in kept, file


def test_the_index_of_the_book_lists_every_page() -> None:
    assert {page.name for page in PAGES} - set(links(BOOK / "README.md")) == {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_names_settings_that_exist(page: Path) -> None:
    text = page.read_text()
    for prefix, name in re.findall(r"\b(RELAYER|INDEXER|BRIDGE)_([A-Z0-9_]*[A-Z0-9])\b", text):
        fields = SETTINGS[prefix].model_fields
        field = name.lower()
        # A name that a page cuts short (`INDEXER_ALERT_…`) has the beginning of one.
        known = field in fields or field.removesuffix("_file") in fields
        assert known or any(each.startswith(f"{field}_") for each in fields), f"{prefix}_{name}"


def test_each_reason_of_a_wait_or_a_halt_is_in_the_table_of_what_to_do() -> None:
    _, _, page = (REPOSITORY / "docs" / "operators.md").read_text().partition("## A lane is halted")
    table, _, _ = page.partition("**Chains.**")
    # A limit on questions is an outage of the node, and no refusal.
    unheard = {*KNOWN, RpcFailure.RATE_LIMITED}
    names = [one.name.title().replace("_", "") for one in RpcFailure if one not in unheard]
    names += [budget.BUDGET_REACHED, held.NOT_LANE_SUBMITTER, node.NO_FUNDS, node.NOT_ESTIMATED]
    names += [memory.WAITS_FOR_FINALITY, memory.WOULD_REVERT, errors.OTHER_COMMITMENT]
    names += [errors.KEEPS_REVERTING, errors.TRANSACTION_REFUSED, *vars_of(grounds)]
    assert [name for name in names if f"`{name}`" not in table] == []


def vars_of(module: ModuleType) -> list[str]:
    """Names of reasons that a module has as constants; keys of the journal begin small."""
    texts = [text for name, text in vars(module).items() if name.isupper() and type(text) is str]
    return [text for text in texts if text[0].isupper()]


def test_each_cause_that_explain_names_is_in_its_table() -> None:
    named = set(re.findall(r'(?:say|yield)\W+"([A-Z]\w+)"', inspect.getsource(explain)))
    assert len(named) > 15
    page = (BOOK / "transactions.md").read_text()
    assert [name for name in sorted(named) if f"`{name}`" not in page] == []
