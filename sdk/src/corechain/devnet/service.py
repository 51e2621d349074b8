"""A service of ours as a child process, ready when its /ready says so."""

import http.client
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from corechain.devnet.process import LOCALHOST, Command
from corechain.devnet.servers import PROBE_TIMEOUT_S, Server

PREFIXES = ("RELAYER_", "INDEXER_", "BRIDGE_")


def clean_environment() -> dict[str, str]:
    """Ours without anything meant for a service: what one of them gets is written in one place."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}


def probe(port: int, path: str, timeout_s: float = PROBE_TIMEOUT_S) -> tuple[int, str]:
    """Status and body of a GET on this machine. Raises OSError."""
    connection = http.client.HTTPConnection(LOCALHOST, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise ConnectionError(f"GET {path}: {error!r}") from error
    finally:
        connection.close()


class Service(Server):
    """`python -m corechain.cli <arguments>` with exactly the settings given."""

    hint = "the end of its log follows"
    start_limit_s = 120.0

    def __init__(
        self,
        name: str,
        directory: Path | str,
        port: int,
        arguments: Sequence[str],
        settings: Mapping[str, str],
    ) -> None:
        super().__init__(directory, port)
        self.name = name
        self.settings = dict(settings)
        self._arguments = tuple(arguments)
        self._last_answer = ""

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    def _prepare(self) -> None:
        super()._prepare()
        self._last_answer = "no answer"

    def _command(self) -> Command:
        program = [sys.executable, "-m", "corechain.cli", *self._arguments]
        return Command(program, environment={**clean_environment(), **self.settings})

    def _is_ready(self) -> bool:
        try:
            status, body = probe(self.port, "/ready")
        except OSError:
            return False
        self._last_answer = f"/ready says {status} {_short(body)}"
        return status == http.client.OK

    def _late(self) -> str:
        return f"{super()._late()} ({self._last_answer})"


def _short(body: str) -> str:
    try:
        failing = json.loads(body)["failing"]
    except (ValueError, KeyError, TypeError):
        return body[:200]
    return f"failing: {', '.join(map(str, failing))}"
