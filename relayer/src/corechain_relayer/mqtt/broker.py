"""Where the broker is and how we show ourselves, from the settings."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog

from corechain.service.reasons import reason_of
from corechain_relayer.mqtt.errors import BrokerRefused

log = structlog.get_logger(__name__)

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
        """For logs. What others may read, as `/ready` is, says "the broker"."""
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
        log.error("file of no use", setting=setting, path=str(path), why=str(error))
        return BrokerRefused(f"the broker: {setting} is of no use: {reason_of(error)}")

    def refusal(self, error: BaseException | None) -> BrokerRefused | None:
        """What an operator has to do, where TLS has failed because of a certificate."""
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"certificate verify failed, {error.verify_message}"
            return BrokerRefused(f"the broker: {why}: set RELAYER_MQTT_CA")
        if not isinstance(error, ssl.SSLError) or error.reason not in _ABOUT_OUR_CERTIFICATE:
            return None
        return BrokerRefused(
            f"the broker does not take our certificate, or wants one ({error.reason}): "
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
