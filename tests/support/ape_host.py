"""`ape` with its modules loaded: forks itself for each line that it is sent, which says what runs.

    python -P ape_host.py     (support.ape starts it)

Of the three CPU seconds that a deployment takes, two are imports. Our own plug-in is not among
them: it acts when it is imported, on the environment of each run.
"""

import gc
import importlib
import json
import os
import sys

MODULES = (
    "ape._cli", "ape_run._cli", "ape.managers.accounts", "ape.managers.chain",
    "ape.managers.compilers", "ape.managers.config", "ape.managers.converters",
    "ape.managers.networks", "ape.managers.plugins", "ape.managers.project",
    "ape_accounts.accounts", "ape_arbitrum.ecosystem", "ape_cache.config", "ape_console.config",
    "ape_ethereum.ecosystem", "ape_ethereum.provider", "ape_ethereum.transactions",
    "ape_ethereum.trace", "ape_foundry.provider", "ape_networks.config", "ape_node.provider",
    "ape_pm.project", "ape_polygon.ecosystem", "ape_solidity.compiler", "ape_test.accounts",
    "ape_test.provider", "eth.vm.forks", "eth_tester.main", "evmchains.chains", "pandas",
)  # fmt: skip


def become(asked: dict) -> None:  # type: ignore[type-arg]
    """A process of its own, as it would have been started."""
    from corechain.devnet.guard import die_with

    os.setsid()
    die_with(asked["host"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    for number, file, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["output"], os.O_WRONLY | os.O_APPEND),
        (2, asked["errors"], os.O_WRONLY | os.O_APPEND),
    ):
        os.dup2(os.open(file, flags), number)
    sys.argv = ["ape", *asked["words"]]


def main() -> None:
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()
    host = os.getpid()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line) | {"host": host})
            from ape._cli import cli

            # Out of here as out of any program: what ape started must be stopped at its end.
            sys.exit(cli())
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
