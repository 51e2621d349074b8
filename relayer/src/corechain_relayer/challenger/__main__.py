"""`python -m corechain_relayer.challenger run`: the same without the SDK's entry point."""

from corechain_relayer.challenger.commands import commands

commands()
