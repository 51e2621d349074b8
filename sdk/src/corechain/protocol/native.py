"""corechain-native where it is installed and wanted; None where pure Python does the work.

The native module reads CORECHAIN_NATIVE itself: with 0 it cannot be imported. Every function of it
agrees with a reference in this package, so a caller may choose by what is there.
"""

from types import ModuleType


def _installed() -> ModuleType | None:
    try:
        import corechain_native
    except ImportError:
        return None
    return corechain_native


library: ModuleType | None = _installed()
