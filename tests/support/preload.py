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
import support.forked  # noqa: F401  whose functions are run, and with it pytest
from corechain_indexer import settings as indexer_settings
from corechain_relayer import settings as relayer_settings
from corechain_relayer.bridge import settings as bridge_settings
from corechain_relayer.challenger.settings import ChallengerSettings

for package in (corechain, corechain_relayer, corechain_indexer):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
# Built when first used (`defer_build`): a third of the CPU that a start takes, if each did it anew.
for settings in (
    indexer_settings.Settings,
    relayer_settings.Settings,
    bridge_settings.Settings,
    ChallengerSettings,
):
    settings.model_rebuild()
# What is run is not imported: `python -m`.
sys.modules.pop("corechain.cli", None)
# A copy that looks these through for garbage writes to each, and so has its own of each page.
gc.freeze()
