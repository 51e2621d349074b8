"""The mirror of this environment's indexer, alone: no verifier, no exporters, no HTTP.

A process of its own for bench/index.py: what that imports is no memory of the mirror's.
"""

from index_chain import deployment_of

from corechain.service.command import run_to_end
from corechain.service.logs import configure_logs
from corechain_indexer.following import Follower
from corechain_indexer.settings import load_settings

FIRST_BLOCK = 2
"""Of the contracts; the one before it links the first."""


async def mirror() -> None:
    settings = load_settings()
    configure_logs(settings.log_level)
    follower = Follower(settings, deployment_of(FIRST_BLOCK))
    await follower.prepare()
    await follower.mirror()


if __name__ == "__main__":
    run_to_end(mirror())  # with the loop and the garbage collector that the command has
