"""Mosquitto as a child process: an MQTT broker, 3.1.1 and 5, with or without TLS and passwords.

Source of the settings: mosquitto.conf(5).
"""

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from corechain.devnet.errors import MissingProgram
from corechain.devnet.process import LOCALHOST, Command
from corechain.devnet.programs import SETUP
from corechain.devnet.servers import PROBE_TIMEOUT_S, Server

MOSQUITTO_VARIABLE = "CORECHAIN_MOSQUITTO"
UNPACKED = Path(".corechain") / "mosquitto"
PROGRAM = Path("usr") / "sbin" / "mosquitto"
SYSTEM = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
HINT = f"{SETUP}, install it (Debian: apt install mosquitto), or set {MOSQUITTO_VARIABLE}"
CONNECT = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x05\x00\x05ready"
"""CONNECT of 3.1.1 with a client id: whatever it answers, it speaks MQTT."""


def find_mosquitto() -> Path:
    """CORECHAIN_MOSQUITTO, else one of the system, else the one that `make setup` unpacks, around
    the current folder or around this file. Raises MissingProgram."""
    chosen = os.environ.get(MOSQUITTO_VARIABLE)
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise MissingProgram(f"mosquitto at {chosen}", f"correct {MOSQUITTO_VARIABLE}")
        return Path(chosen)
    places = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM))
    found = shutil.which("mosquitto", path=places)
    if found:
        return Path(found)
    for place in (Path.cwd(), Path(__file__).resolve()):
        for folder in (place, *place.parents):
            if (folder / UNPACKED / PROGRAM).is_file():
                return folder / UNPACKED / PROGRAM
    raise MissingProgram("mosquitto", HINT)


def libraries(program: Path) -> str:
    """Where the libraries of an unpacked Mosquitto are, for the loader; empty for an installed."""
    root = program.parents[2]
    if root == Path("/") or not program.is_relative_to(root / "usr"):
        return ""
    folders = (*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*"))
    return os.pathsep.join(map(str, folders))


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect, and how. Everybody without `password_file`; without TLS where there is no
    `certificate` (with its `key`)."""

    password_file: Path | None = None
    acl_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    """Who signs the certificates of clients; with it each needs one."""


OPEN = Access()


class MosquittoServer(Server):
    """A broker that keeps sessions and their messages over an orderly stop; after a kill, those of
    a second before it (it writes its file so often)."""

    name, kind = "mosquitto", "mqtt"
    hint = "if its file mosquitto.db is damaged, remove it"

    def __init__(
        self, directory: Path | str, port: int | None = None, access: Access = OPEN
    ) -> None:
        super().__init__(directory, port)
        self.access = access

    @property
    def url(self) -> str:
        scheme = "mqtts" if self.access.certificate else "mqtt"
        return f"{scheme}://{LOCALHOST}:{self.port}"

    @property
    def _config(self) -> Path:
        return self.directory / "mosquitto.conf"

    def _settings(self) -> list[tuple[str, str | Path | None]]:
        access = self.access
        return [
            ("listener", f"{self.port} {LOCALHOST}"),
            ("allow_anonymous", "false" if access.password_file else "true"),
            ("password_file", access.password_file),
            ("acl_file", access.acl_file),
            ("certfile", access.certificate),
            ("keyfile", access.key),
            ("cafile", access.client_ca),
            ("require_certificate", "true" if access.client_ca else None),
            ("persistence", "true"),
            ("persistence_location", f"{self.directory}/"),
            ("autosave_interval", "1"),
            # Its defaults send 20 messages ahead and drop all beyond 1,000 that wait.
            ("max_inflight_messages", "1000"),
            ("max_queued_messages", "1000000"),
            # As root it would become a user who cannot write into our folder.
            ("user", "root" if os.getuid() == 0 else None),
            ("log_dest", "stdout"),
        ]

    def _spawn(self) -> None:
        # Here, not in `_prepare`: another port may have been taken since.
        lines = (f"{name} {value}\n" for name, value in self._settings() if value is not None)
        self._config.write_text("".join(lines))
        super()._spawn()

    def _command(self) -> Command:
        program = find_mosquitto()
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries(program)}
        return Command([program, "-c", self._config], environment=environment)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((LOCALHOST, self.port), PROBE_TIMEOUT_S) as connection:
                if self.access.certificate:
                    return True
                connection.sendall(CONNECT)
                # CONNACK: "yes", or that we are not the right one.
                return connection.recv(4)[:1] == b"\x20"
        except OSError:
            return False
