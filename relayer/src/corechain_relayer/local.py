"""Where the network of this machine, which `corechain up` runs, keeps what its commands need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from corechain.kept_endpoints import InvalidEndpoints, NetworkKilled, read_endpoints
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

    Raises InvalidSetting for a `home` in which no network runs, or for one whose was killed.
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
    return part_settings(home, "operator")


def part_settings(home: Path, part: str) -> dict[str, str] | None:
    """The settings that the network of a home keeps for commands of a part of it; None where none
    runs, or none with such a part. Raises InvalidSetting where it was killed."""
    try:
        found = read_endpoints(home)[part]
        return {str(name): str(value) for name, value in found.items()}
    except NetworkKilled as error:
        raise InvalidSetting(str(error)) from error
    except (InvalidEndpoints, KeyError, TypeError, AttributeError):
        return None
