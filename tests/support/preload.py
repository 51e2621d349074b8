"""All that a relayer imports, whatever its roles, before a process is forked: support.forked."""

import gc
import importlib
import pkgutil

import asyncpg  # noqa: F401
import redis.asyncio  # noqa: F401
import uvicorn  # noqa: F401

import corechain_relayer

for found in pkgutil.walk_packages(corechain_relayer.__path__, "corechain_relayer."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
# A copy that looks these through for garbage writes to each, and so has its own of each page.
gc.freeze()
