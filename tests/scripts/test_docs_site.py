"""The documentation as a site: tools/docs_site.py and mkdocs.yml.

given pages that link as the repository has them
  links between pages lead where the site has them, links to sources become their names
  code stays as it is
given the lists that the site is made of
  each page of the navigation is there, each page of docs/ is read by somebody
  each path of the API and each public name of the SDK has a section
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import corechain
from corechain_indexer.api.openapi import document
from corechain_indexer.api.routes import ENDPOINTS

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tools"))

import docs_site  # noqa: E402 (lies outside every package)


class Loader(yaml.SafeLoader):
    """mkdocs.yml may name Python objects; here only its lists count."""


@pytest.mark.parametrize(
    ("page", "written", "shown"),
    [
        ("developers.md", "[a](protocol.md)", "[a](protocol.md)"),
        ("developers.md", "[a](protocol.md#b)", "[a](protocol.md#b)"),
        ("developers.md", "[a](../contracts/README.md)", "[a](packages/contracts.md)"),
        ("developers.md", "[a](../README.md)", "[a](index.md)"),
        ("operators/README.md", "[a](../postgres.md)", "[a](../postgres.md)"),
        ("index.md", "[a](docs/tutorial.md)", "[a](tutorial.md)"),
        ("index.md", "[`sdk/`](sdk/README.md)", "[`sdk/`](packages/sdk.md)"),
        ("packages/sdk.md", "[a](../docs/developers.md#c)", "[a](../developers.md#c)"),
        ("index.md", "[why](docs/decisions/)", "why (`docs/decisions`)"),
        ("developers.md", "[`x.sol`](../contracts/x.sol)", "`x.sol`"),
        ("developers.md", "[a](https://example.org/b.md)", "[a](https://example.org/b.md)"),
        ("developers.md", "[a](#b)", "[a](#b)"),
        (
            "explorer.md",
            "![map](images/explorer-stations.png)",
            "![map](images/explorer-stations.png)",
        ),
        ("index.md", "```\n[a](sdk/README.md)\n```", "```\n[a](sdk/README.md)\n```"),
    ],
)
def test_a_link_leads_where_the_site_has_it(page: str, written: str, shown: str) -> None:
    assert docs_site.relinked(written, page) == shown


def pages_of(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    children = entry.values() if isinstance(entry, dict) else entry
    return [page for child in children for page in pages_of(child)]


def test_each_page_of_the_navigation_is_there() -> None:
    listed = pages_of(yaml.load((REPOSITORY / "mkdocs.yml").read_text(), Loader)["nav"])
    made = {"reference/python.md", "reference/http.md"}
    missing = [
        page
        for page in listed
        if page not in made and not (REPOSITORY / docs_site.source_of(page)).is_file()
    ]
    assert missing == []
    known = {page.name for page in (REPOSITORY / "docs").glob("*.md")}
    assert known <= {page for page in listed if "/" not in page}, "not listed"


def test_what_lies_outside_and_is_shown_is_there() -> None:
    assert [here for here in docs_site.OUTSIDE if not (REPOSITORY / here).is_file()] == []


def test_each_path_of_the_api_has_a_section() -> None:
    told = docs_site.http_reference(document(ENDPOINTS, "1"))
    for endpoint in ENDPOINTS:
        assert f"## `GET {endpoint.path}`" in told


def test_each_public_name_of_the_sdk_has_an_entry() -> None:
    told = docs_site.python_reference()
    assert [f"::: corechain.{name}" for name in corechain.__all__] == [
        line for line in told.splitlines() if line.startswith(":::")
    ]
