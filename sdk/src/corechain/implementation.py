"""Which implementation of the hot paths a process uses: corechain-native, or pure Python."""

from collections.abc import Mapping

from corechain.protocol.errors import CoreChainError, InvalidValue

VARIABLE = "CORECHAIN_NATIVE"
"""0: pure Python though corechain-native is installed. 1: an error where it is not."""


class NativeMissing(CoreChainError):
    """CORECHAIN_NATIVE=1 asks for corechain-native, and it cannot be loaded."""

    def __init__(self) -> None:
        super().__init__(
            f"{VARIABLE}=1, but corechain-native cannot be loaded: build it with `make native`, "
            f"or unset {VARIABLE} to run in pure Python"
        )


def is_native() -> bool:
    """Whether corechain-native is loaded."""
    from corechain.protocol import native

    return native.library is not None


def check_implementation(environment: Mapping[str, str]) -> None:
    """Raises NativeMissing, or InvalidValue for another value of CORECHAIN_NATIVE than 0 or 1."""
    wanted = environment.get(VARIABLE, "")
    if wanted not in ("", "0", "1"):
        raise InvalidValue(VARIABLE, wanted, "is 0, 1 or not set")
    if wanted == "1" and not is_native():
        raise NativeMissing
