"""Named queries lie in files beside the code."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corechain.service.sql import queries


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable package with an empty folder for its queries."""
    name = f"package_{tmp_path.name}"
    folder = tmp_path / name / "sql" / "queries"
    folder.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop(name, None)


def test_queries_of_several_files_are_one_table(package: Path) -> None:
    (package / "reads.sql").write_text("-- name: one\nselect 1\n")
    (package / "writes.sql").write_text("-- name: two\n-- why\nselect 2\n")
    found = queries(package.parent.parent.name)
    assert found == {"one": "select 1", "two": "-- why\nselect 2"}


def test_a_name_that_two_files_use_is_refused(package: Path) -> None:
    for file in ("reads.sql", "writes.sql"):
        (package / file).write_text("-- name: one\nselect 1\n")
    with pytest.raises(ValueError, match="two queries named one"):
        queries(package.parent.parent.name)
