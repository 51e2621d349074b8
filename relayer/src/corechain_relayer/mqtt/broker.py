"""Where the broker is and how we show ourselves, from the settings."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from corechain_relayer.mqtt.errors import BrokerRefused

PORT, TLS_PORT = 1883, 8883
_ALERTS = ("BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "CERTIFICATE_UNKNOWN")
_ABOUT_OUR_CERTIFICATE = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_ALERT_UNKNOWN_CA",
    # TLS 1.2 has no word for "you have none".
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    *(f"SSLV3_ALERT_{alert}" for alert in _ALERTS),
}
"""Alerts by OpenSSL's names (RFC 8446, section 6.2)."""


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
        """None without TLS. Raises BrokerRefused for files that cannot be used."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:  # ssl.SSLError is one
            raise self._unusable("RELAYER_MQTT_CA", self.ca, error) from error
        if self.certificate is not None:
            try:
                # A password, though there is none: without one OpenSSL asks for it at the terminal.
                context.load_cert_chain(self.certificate, password="")
            except (OSError, ValueError) as error:
                raise self._unusable("RELAYER_MQTT_CERTIFICATE", self.certificate, error) from error
        return context

    def _unusable(self, setting: str, path: Path | None, error: Exception) -> BrokerRefused:
        why = f"{type(error).__name__}: {error}"
        return BrokerRefused(f"broker {self.name}: {setting} is of no use, {path}: {why}")

    def refusal(self, error: BaseException | None) -> BrokerRefused | None:
        """What an operator has to do, where TLS has failed because of a certificate."""
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"certificate verify failed, {error.verify_message}"
            return BrokerRefused(f"broker {self.name}: {why}: set RELAYER_MQTT_CA")
        if not isinstance(error, ssl.SSLError) or error.reason not in _ABOUT_OUR_CERTIFICATE:
            return None
        return BrokerRefused(
            f"broker {self.name} does not take our certificate, or wants one ({error.reason}): "
            "set RELAYER_MQTT_CERTIFICATE"
        )


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
