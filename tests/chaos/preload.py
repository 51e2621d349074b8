"""What a relayer with all roles imports, before it is forked."""

import asyncpg  # noqa: F401
import redis.asyncio  # noqa: F401
import uvicorn  # noqa: F401

import corechain_relayer.commands
import corechain_relayer.guard.service
import corechain_relayer.service
import corechain_relayer.watchtower.service  # noqa: F401
