"""Checks of a command's options: a wrong one is a wrong argument, exit code 2, and not an error of
whoever uses it later."""

from collections.abc import Sequence
from typing import TypeVar

import typer

from corechain.http import service_url
from corechain.protocol.errors import InvalidValue

U = TypeVar("U", str | None, list[str] | None)


def url_option(value: U) -> U:
    """The same value, as a callback of an option that takes one URL, or several.

    Raises BadParameter for what is no http or https URL with a host.
    """
    urls: Sequence[str] = [value] if isinstance(value, str) else value or []
    for url in urls:
        try:
            service_url("url", url)
        except InvalidValue:
            # Not shown: where it is nearly one, it may hold a provider's token.
            raise typer.BadParameter(
                "this is no http or https URL with a host, as http://127.0.0.1:8545"
            ) from None
    return value


def line_option(value: str | None) -> str | None:
    """The same value, as a callback of an option or an argument that is kept or looked for in a
    database, and shown to others.

    Raises BadParameter for what is not one line of text: empty, with bytes that are no UTF-8 (no
    database takes those), or with characters that move a cursor.
    """
    if value is not None and not (value and value.isprintable()):
        raise typer.BadParameter("this is not a line of text")
    return value
