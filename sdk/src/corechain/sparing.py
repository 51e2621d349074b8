"""Companions of our libraries that they load where they find them, and that we have no use for."""

import sys
from importlib import import_module


def import_without(library: str, companion: str) -> None:
    """Imports a library as if a package that it can do without were not installed; that package can
    be imported afterwards. Does nothing where either is there already: then nothing is spared."""
    if library in sys.modules or companion in sys.modules:
        return
    sys.modules[companion] = None  # type: ignore[assignment] # what Python has for "not there"
    try:
        import_module(library)
    finally:
        del sys.modules[companion]
