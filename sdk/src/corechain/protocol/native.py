"""corechain-native where it is installed and wanted; None where pure Python does the work.

The native module reads CORECHAIN_NATIVE itself: with 0 it cannot be imported. Every function of it
agrees with a reference in this package, so a caller may choose by what is there.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any


def _installed() -> ModuleType | None:
    try:
        import corechain_native
    except ImportError:
        return None
    return corechain_native


library: ModuleType | None = _installed()


def function(name: str) -> Callable[..., Any] | None:
    """None, too, where the installed build is older than the function."""
    return getattr(library, name, None)
