"""How a command ends that fails: one sentence on the error channel and exit code 1, whatever it was
that failed: a server, a file, a disk, a package that is not there."""

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper

import typer

from corechain.history_errors import MissingExtra
from corechain.protocol.errors import CoreChainError, PaymentRequired

FAILED = 1
PAYMENT_SIGNATURE = "PAYMENT-SIGNATURE"
_SERVICE = "aiohttp asyncpg eth_keyfile numpy pydantic starlette structlog uvicorn"
_EXTRAS = {"psutil": "devnet"} | dict.fromkeys(_SERVICE.split(), "service")
"""What brings a package that a command was found to lack."""


def printable(text: str) -> str:
    """What others say, for a terminal: its control characters are written out, for they could
    clear the screen, or turn around what stands behind them. Lines stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """The same without line breaks: a value must not look like the next one."""
    return printable(text).replace("\n", "\\n")


def _sentence(error: CoreChainError | OSError | ModuleNotFoundError) -> str:
    # Not of who pays already, and has too little.
    if isinstance(error, PaymentRequired) and PAYMENT_SIGNATURE in str(error):
        return f"{error}; commands pay with --deposit and --key-file"
    if isinstance(error, ModuleNotFoundError):
        return str(MissingExtra("this command", str(error.name), _EXTRAS[str(error.name)]))
    if isinstance(error, OSError) and error.strerror:
        place = "the output" if error.filename is None else os.fsdecode(error.filename)
        return f"{place}: {error.strerror}"
    return str(error)


def _flush() -> None:
    """What was printed is out, or that is an error now: at the end of Python it would be a warning
    that no caller sees."""
    # None where a program was started with its output closed.
    for channel in filter(None, (sys.stdout, sys.stderr)):
        try:
            channel.flush()
        except OSError:
            # It would be tried again, and fail again, when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), channel.fileno())
            raise


def _takes_any_character() -> None:
    """Characters that a terminal's encoding lacks are written out: on an old one, or in a pipe of
    Windows, a dash would end the command."""
    for channel in (sys.stdout, sys.stderr):
        if isinstance(channel, TextIOWrapper):  # not what a test, or a notebook, has put there
            channel.reconfigure(errors="backslashreplace")


def told(command: Callable[[], object]) -> None:
    """Runs it; an error that is one of ours, or of files, is told and ends the process with 1."""
    _takes_any_character()
    try:
        try:
            command()
        finally:
            _flush()
    except BrokenPipeError:
        sys.exit(FAILED)  # who read it has seen enough
    except (CoreChainError, OSError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in _EXTRAS:
            raise
        typer.echo(f"error: {printable(_sentence(error))}", err=True)
        sys.exit(FAILED)
