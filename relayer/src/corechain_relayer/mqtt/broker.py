"""Where the broker is and how we show ourselves, from the settings."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

PORT, TLS_PORT = 1883, 8883


@dataclass(frozen=True, slots=True)
class Broker:
    """An address of MQTT over TCP, or over TLS with `tls`. The password has no repr."""

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    """Certificates that we trust; those of the system when None."""
    certificate: Path | None = None
    """Our own certificate with its key, where the broker wants one."""

    @property
    def name(self) -> str:
        """For logs and `/ready`."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """Raises OSError for files that cannot be read (ssl.SSLError is one)."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate)
        return context


def broker_of(
    url: str, password: str, ca: Path | None = None, certificate: Path | None = None
) -> Broker:
    """Of `mqtt://user@host:1883` or `mqtts://…`. Raises ValueError."""
    parts = urlsplit(url)
    tls = parts.scheme == "mqtts"
    if parts.hostname is None or parts.path not in ("", "/"):
        raise ValueError("is not a URL like mqtts://user@host:8883")
    port = parts.port or (TLS_PORT if tls else PORT)
    user = unquote(parts.username or "")
    secret = password or unquote(parts.password or "")
    return Broker(parts.hostname, port, tls, user, secret, ca, certificate)
