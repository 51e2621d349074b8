"""`python -m corechain_relayer run`: the same commands without the SDK's entry point."""

from corechain.collecting import collect_seldom

collect_seldom()  # before all the modules that it spares

from corechain_relayer.commands import commands  # noqa: E402

commands()
