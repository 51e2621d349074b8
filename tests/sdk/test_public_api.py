"""What `import corechain` gives, and what it must not cost."""

import subprocess
import sys

from support.processes import PATIENCE_S

import corechain

HEAVY = (
    "web3",
    "eth_account",
    "httpx",
    "asyncpg",
    "starlette",
    "uvicorn",
    "redis",
    "ape",
    "rich",
    "numpy",
)


def test_every_public_name_is_exported_on_purpose():
    names = [name for name in vars(corechain) if not name.startswith("_")]
    classes = {name for name in names if not hasattr(getattr(corechain, name), "__path__")}
    modules = {name for name in classes if type(getattr(corechain, name)).__name__ == "module"}
    assert set(corechain.__all__) == classes - modules
    assert corechain.__all__ == sorted(corechain.__all__, key=_isort)


def _isort(name):
    """Constants, classes, functions: ruff's order of __all__."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def test_importing_the_sdk_loads_nothing_heavy():
    code = f"import sys, corechain; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout.strip() == "[]"


def test_the_protocol_opens_nothing():
    """No module of the pure core brings sockets, event loops or subprocesses with it."""
    code = (
        "import sys, pkgutil, importlib, corechain.protocol as p\n"
        "before = set(sys.modules)\n"
        "[importlib.import_module('corechain.protocol.' + m.name) "
        "for m in pkgutil.iter_modules(p.__path__)]\n"
        "new = set(sys.modules) - before\n"
        "print([m for m in ('asyncio', 'http.client', 'sqlite3') if m in new])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout.strip() == "[]"
