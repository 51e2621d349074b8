"""What a test that failed has left open is its own: it fails no other test.

A failure keeps all frames that it went through, so also the sessions, loops and sockets in them
which would have been closed behind it. They are thrown away when the next test fails or ends, warn
of themselves there, and warnings are errors: an unrelated test failed with the first. So they are
thrown away at once, and unheard: that a test closes what it opened is judged where it passes.
"""

import gc
import sys
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest

FAILED = pytest.StashKey[bool]()
LAST = "last_type", "last_value", "last_traceback", "last_exc"
"""Where pytest keeps a failure for a debugger, until the next test begins."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    done = yield
    if item.stash.get(FAILED, False):
        _throw_away()
    return done


def _throw_away() -> None:
    for name in LAST:
        with suppress(AttributeError):
            delattr(sys, name)
    heard, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = heard
