"""`python -m corechain_relayer run`: the same commands without the SDK's entry point."""

from corechain_relayer.cli import commands

commands()
