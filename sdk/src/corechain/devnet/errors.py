"""What can go wrong with a process of the embedded network: each says what to do about it."""

from collections.abc import Sequence
from pathlib import Path

from corechain.protocol.errors import TransportError


def _sentence(what: str, hint: str, tail: str) -> str:
    text = f"{what}; {hint}" if hint else what
    return f"{text}\n--- end of its log ---\n{tail}" if tail else text


class MissingProgram(TransportError):
    """A server program is not installed."""

    def __init__(self, program: str, hint: str) -> None:
        super().__init__(f"{program} is not installed; {hint}")
        self.program, self.hint = program, hint


class MissingPrograms(TransportError):
    """Several programs or packages are not installed: all of them, not only the first."""

    def __init__(self, missing: Sequence[MissingProgram]) -> None:
        lines = "".join(f"\n  {error.program}: {error.hint}" for error in missing)
        super().__init__(f"not installed:{lines}")
        self.missing = tuple(missing)


class PortTaken(TransportError):
    """Another process listens on the port."""

    def __init__(self, port: int, server: str, setting: str) -> None:
        super().__init__(
            f"port {port} for {server} is taken by another process; "
            f"stop that process or choose another port with {setting}"
        )
        self.port, self.server, self.setting = port, server, setting


class NoFreePort(TransportError):
    """No port of the range was found free."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"found no free port from {first} to {last}; stop some servers")
        self.first, self.last = first, last


class DirectoryUnusable(TransportError):
    """A directory cannot be made, or nothing can be written into it."""

    def __init__(self, directory: Path, why: str) -> None:
        super().__init__(f"{directory} cannot be used: {why}; name another folder with --home")
        self.directory, self.why = directory, why


class DirectoryInUse(TransportError):
    """A live process already works in the directory."""

    def __init__(self, directory: Path, server: str, pid: int | None = None) -> None:
        owner = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{server} in {directory} is already running ({owner}); "
            "stop it or use another directory"
        )
        self.directory, self.server, self.pid = directory, server, pid


class ServerNotStarted(TransportError):
    """A server did not become ready. `tail` is the end of its log."""

    def __init__(self, server: str, why: str, hint: str, log: Path, tail: str) -> None:
        super().__init__(_sentence(f"{server} did not start: {why}", f"{hint} (log: {log})", tail))
        self.server, self.why, self.log, self.tail = server, why, log, tail


class ServerDied(TransportError):
    """A server that was running ended by itself. `tail` is the end of its log."""

    def __init__(self, server: str, code: int, log: Path, tail: str) -> None:
        super().__init__(_sentence(f"{server} ended with exit code {code}", f"log: {log}", tail))
        self.server, self.code, self.log, self.tail = server, code, log, tail


class ServerCommandFailed(TransportError):
    """A tool of a server (initdb, psql, …) failed, or took too long: then `code` is None."""

    def __init__(self, command: str, code: int | None, output: str) -> None:
        how = "took too long" if code is None else f"failed with exit code {code}"
        super().__init__(f"{command} {how}: {output.strip() or 'it said nothing'}")
        self.command, self.code, self.output = command, code, output


class DeploymentFailed(TransportError):
    """`ape run deploy` failed. `output` is the end of what it said."""

    def __init__(self, why: str, output: str) -> None:
        super().__init__(_sentence(f"the contracts were not deployed: {why}", "", output))
        self.why, self.output = why, output


class ChainStateLost(TransportError):
    """The home remembers a deployment that the chain does not have."""

    def __init__(self, home: Path) -> None:
        super().__init__(
            f"the chain does not have the contracts that {home} remembers; "
            "start with --fresh to begin anew"
        )
        self.home = home
