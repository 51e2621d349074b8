"""Nearly good bytes, under the sanitizers: no byte is read or written out of bounds."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import fuzz_decode  # noqa: E402

INPUTS = 20_000
"""About a second; `make fuzz-decode` takes ten million."""


def _without_sanitizers() -> bool:
    """Some compilers come without the sanitizers' library."""
    probe = subprocess.run(
        ["cc", *fuzz_decode.SANITIZERS, "-x", "c", "-", "-o", "/dev/null"],
        input="int main(void) { return 0; }",
        text=True,
        capture_output=True,
        check=False,
    )
    return probe.returncode != 0


def test_the_decoders_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    if _without_sanitizers():
        # What must be true of every result is held against it all the same.
        monkeypatch.setattr(fuzz_decode, "SANITIZERS", [])
    assert f"{INPUTS} inputs" in fuzz_decode.run(INPUTS, seed=1)


def test_a_driver_that_ends_badly_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_decode, "SANITIZERS", [])
    # No input is good under this seed and number: the driver calls its own mix broken.
    monkeypatch.setattr(fuzz_decode, "STRICT", ["-O0", "-DROOM=8"])
    with pytest.raises(subprocess.CalledProcessError):
        fuzz_decode.run(2_000, seed=1)
