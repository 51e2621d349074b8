"""All that our services import, whatever they do, before a process is forked: support.forked."""

import gc
import importlib
import pkgutil
import sys

import asyncpg  # noqa: F401
import redis.asyncio  # noqa: F401
import uvicorn  # noqa: F401

import corechain
import corechain_indexer
import corechain_relayer

for package in (corechain, corechain_relayer, corechain_indexer):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
# What is run is not imported: `python -m`.
sys.modules.pop("corechain.cli", None)
# A copy that looks these through for garbage writes to each, and so has its own of each page.
gc.freeze()
