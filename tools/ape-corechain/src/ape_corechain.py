"""Lets `ape` of an activated environment find what `make setup` put into the checkout.

Ape imports every installed distribution whose name begins with `ape-` before it compiles anything
or starts a node. Nothing of Ape is changed: this only sets what a user could have exported by hand,
and leaves alone what the user did export.
"""

import os
import sys
from pathlib import Path

from corechain.devnet.deploy import forget_stale_build
from corechain.devnet.process import LOCALHOST, free_port
from corechain.devnet.programs import is_repository

SOLCX_VARIABLE = "SOLCX_BINARY_PATH"
NODE_VARIABLE = "APE_FOUNDRY_HOST"


def find_checkout(start: Path) -> Path | None:
    """The checkout of CoreChain that `start` lies in, if it lies in one."""
    return next((folder for folder in (start, *start.parents) if is_repository(folder)), None)


def add_tools(checkout: Path) -> None:
    """anvil and forge of this checkout, and node of this environment, for whoever has none."""
    known = os.environ.get("PATH", os.defpath).split(os.pathsep)
    # Last, not first: who has an anvil of their own keeps it.
    places = (checkout / "node_modules" / ".tools", Path(sys.executable).parent)
    missing = [str(place) for place in places if place.is_dir() and str(place) not in known]
    os.environ["PATH"] = os.pathsep.join([*known, *missing])


def choose_compiler(checkout: Path) -> None:
    """The pinned compiler, unless the user chose a folder of compilers."""
    folder = checkout / ".solcx"
    if folder.is_dir():
        os.environ.setdefault(SOLCX_VARIABLE, str(folder))


def choose_port() -> None:
    """A free port for the node that Ape starts, unless the user named a node.

    Ape's own choice is a random port of the range from which the kernel gives ports to outgoing
    connections, tried once: where one has it, anvil ends at once and Ape waits 20 s for it.
    """
    if NODE_VARIABLE not in os.environ:
        os.environ[NODE_VARIABLE] = f"http://{LOCALHOST}:{free_port()}"


def prepare(start: Path) -> None:
    """Does nothing outside a checkout: Ape loads this in every project of the environment."""
    checkout = find_checkout(start)
    if checkout is not None:
        add_tools(checkout)
        choose_compiler(checkout)
        choose_port()
        forget_stale_build(checkout)


prepare(Path.cwd())
