"""What `import corechain` gives."""

import ast
import inspect
from importlib import import_module

import pytest

import corechain


def test_every_public_name_has_one_home_that_type_checkers_see_too() -> None:
    """The imports that only type checkers read, and the table that Python reads, say the same."""
    seen = {
        name.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(corechain)))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("corechain.")
        for name in node.names
    }
    homes = {name: f"corechain.{home}" for name, home in corechain._HOMES.items()}
    assert seen == homes
    assert set(corechain.__all__) == set(homes)
    assert corechain.__all__ == sorted(corechain.__all__, key=_isort)
    for name, home in homes.items():
        assert getattr(corechain, name) is getattr(import_module(home), name)
    assert set(dir(corechain)) >= set(homes)


def _isort(name):
    """Constants, classes, functions: ruff's order of __all__."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def test_a_name_that_is_none_of_ours_is_said_to_be_missing() -> None:
    with pytest.raises(AttributeError, match="module 'corechain' has no attribute 'Clinet'"):
        _ = corechain.Clinet  # type: ignore[attr-defined]
