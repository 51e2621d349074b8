"""Commands that load their modules when they are called: naming one of them loads no other."""

from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_group


class Later(TyperGroup):
    """A command, or a group of them, before its module is there."""

    home: ClassVar[str]

    def loaded(self) -> Any:
        """The click command itself."""
        module, _, attribute = self.home.partition(":")
        found = getattr(import_module(module), attribute)
        name = self.name or ""
        if not isinstance(found, typer.Typer):
            app = typer.Typer()
            app.command(name)(found)
            return get_group(app).commands[name]
        group = get_group(found)
        group.name = name
        return group

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Where a call and a shell's completion go on below this word, so it must be the command's
        own: its parameters are read here."""
        return self.loaded().make_context(*args, **options)


def add_later(app: typer.Typer, name: str, home: str, words: str) -> None:
    """Adds a command whose module is loaded when it is called.

    `home` is `module:attribute`: a `typer.Typer`, or the function of a single command. `words` are
    its help in the list of commands, which is shown without the module: the first paragraph of its
    own.
    """
    kind = type("Later", (Later,), {"home": home})
    app.add_typer(typer.Typer(), name=name, help=words, cls=kind)
