"""The mutants that slither-mutate makes, by its own mutators: all of them (`--comprehensive`).

Its command line compiles a project twice for each mutant, one after the other. Here it makes the
changes, and `campaign` judges them.
"""

import contextlib
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from slither import Slither
from slither.tools.mutator.__main__ import _get_mutators
from slither.tools.mutator.mutators import abstract_mutator

from mutants.campaign import settings
from mutants.mutant import LIBRARIES, Mutant, distinct, mutant

MAKER = "slither"
CAUGHT = 1


def slither_mutants(library: str, project: Path) -> list[Mutant]:
    file = project / LIBRARIES / f"{library}.sol"
    original = file.read_text()
    with contextlib.chdir(project), patch.dict(os.environ, settings(library)):
        slither = Slither(str(file))
    [contract] = slither.get_contract_from_name(library)
    found: list[tuple[str, dict[str, Any]]] = []
    for mutator in _get_mutators(None):

        def collect(*arguments: Any, name: str = mutator.NAME) -> int:
            found.append((name, arguments[2]))
            return CAUGHT

        with patch.object(abstract_mutator, "test_patch", collect):
            mutator(
                contract.compilation_unit, 0, "", None, contract, None, False, Path(os.devnull), []
            ).mutate()
    return distinct(original, [_from_bytes(original, name, change) for name, change in found])


def _from_bytes(original: str, rule: str, change: dict[str, Any]) -> Mutant:
    """Slither counts in bytes."""
    raw = original.encode()
    start, end = (len(raw[: change[place]].decode()) for place in ("start", "end"))
    return mutant(MAKER, rule, original, start, end, change["new_string"])
