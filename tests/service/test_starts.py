"""What a start imports, and what it must not cost.

given one process that imports what ever more needs
  └── no step has loaded a library that only a later one uses
"""

import json
import subprocess
import sys

from support.processes import PATIENCE_S

NEVER = (
    "pandas",
    "pyarrow",
    "rich",
    "opentelemetry",
    "web3",
    "eth_account",
    "ape",
    "pydantic_settings",
)
SERVER = ("numpy", "aiohttp", "uvicorn", "starlette", "redis")
DRIVER = ("asyncpg", "prometheus_client", "websockets")
SERVICE = ("structlog", "pydantic", "psutil")
CLIENT = ("corechain.client", "cryptography", "coincurve", "msgspec")
"""None of these is for a command that has only been named."""
SELDOM = ("cryptography", "concurrent.futures", "tempfile", "difflib", "corechain.payments")
"""For keys on P-256, and for who pays: few clients."""
OF_ONE_ROLE = tuple(
    f"corechain_relayer.{name}"
    for name in (
        "aggregator.role",
        "guard.role",
        "mqtt.link",
        "submitter.service",
        "watchtower.role",
    )
)

STEPS = {
    "import corechain": (
        (*NEVER, *SERVER, *DRIVER, *SERVICE, *CLIENT),
        ("typer", "asyncio", "httpx", "http.client", "dataclasses", "inspect", "corechain.http"),
    ),
    # The pure core opens nothing. Aside: numpy, which some of it has, is not for the next steps.
    "aside = os.fork(); aside or all_in('corechain.protocol')": (
        (*NEVER, *SERVER[1:], *DRIVER, *SERVICE, "corechain.client"),
        ("typer", "asyncio", "httpx", "http.client", "sqlite3"),
    ),
    "from corechain import Client": (
        (*NEVER, *SERVER, *DRIVER, *SERVICE, *SELDOM),
        ("typer", "asyncio", "httpx"),
    ),
    "import corechain.cli as c; c.load_plugins(); get_command(c.app)": (
        (*NEVER, *SERVER, *DRIVER, *SERVICE),
        ("asyncio", "httpx"),
    ),
    "import corechain.http, httpx": ((*NEVER, *SERVER, *DRIVER, *SERVICE), ("asyncio",)),
    "import corechain_relayer.transactions.cli, corechain_relayer.bus.cli": (
        (*NEVER, *SERVER, *DRIVER),
        (),
    ),
    "import corechain_relayer.commands, corechain_indexer.commands": (
        (*NEVER, *SERVER, *DRIVER),
        (),
    ),
    "import corechain_relayer.challenger.commands, corechain_relayer.bridge.commands": (
        (*NEVER, *SERVER, *DRIVER),
        (),
    ),
    # The mirror follows the chain while the rest is still imported.
    "import corechain_indexer.following as f": (
        NEVER,
        ("numpy", "redis", "uvicorn", "eth_abi"),
    ),
    "f.imported_rest()": (NEVER, ("eth_abi",)),
    "import corechain_relayer.serving, corechain_relayer.bus.valkey": (
        (*NEVER, *OF_ONE_ROLE),
        ("eth_abi",),
    ),
    "import corechain_relayer.bridge.service, corechain_relayer.challenger.process": (
        NEVER,
        ("eth_abi",),
    ),
}
PROGRAM = """
import json, os, sys

def all_in(package):
    import importlib, pkgutil
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")

def get_command(app):
    from typer.main import get_command
    return get_command(app)

for step, (many, more) in json.load(sys.stdin).items():
    aside = None
    exec(step)
    if aside:
        os.waitpid(aside, 0)
        continue
    found = [name for name in (*many, *more) if sys.modules.get(name)]
    print(json.dumps([step, found]), flush=True)
    if aside == 0:
        os._exit(0)
"""


def test_no_step_of_a_start_loads_what_only_a_later_one_uses() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(STEPS),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[step, []] for step in STEPS]
