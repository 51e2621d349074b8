"""Where the network of this machine, which `corechain up` runs, keeps what its commands need."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from corechain.service.settings import InvalidSetting

PREFIX = "RELAYER_"
Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Speak of the network that `corechain up` runs there, whatever RELAYER_* says. "
        "Without it that of CORECHAIN_HOME (.corechain), if no RELAYER_* is set.",
    ),
]


def operator_environment(environment: Mapping[str, str], home: Path | None) -> Mapping[str, str]:
    """The environment; with a `home`, or where it says nothing of a relayer, with the settings of
    the network that runs there in place of its RELAYER_*.

    Raises InvalidSetting for a `home` in which no network runs.
    """
    others = {k: v for k, v in environment.items() if not k.upper().startswith(PREFIX)}
    # A half-set environment is a slip, and means some relayer: never this machine's instead.
    if home is None and len(others) < len(environment):
        return environment
    found = _settings_at(home or Path(environment.get("CORECHAIN_HOME") or ".corechain"))
    if found is None and home is not None:
        raise InvalidSetting(f"no network runs in {home}: start it with `corechain up`")
    return environment if found is None else {**others, **found}


def _settings_at(home: Path) -> dict[str, str] | None:
    try:
        found = json.loads((home / "endpoints.json").read_text())["operator"]
        return {str(name): str(value) for name, value in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
