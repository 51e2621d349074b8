"""A Kafka broker with TLS and passwords (SASL_SSL, SCRAM-SHA-512), and a certificate for it.

Source of the settings: Kafka's documentation, "Security", with keys and certificates as PEM.
"""

import datetime
import socket
import ssl
from ipaddress import ip_address
from pathlib import Path

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from corechain.devnet.kafka import KafkaServer
from corechain.devnet.process import LOCALHOST
from corechain.devnet.servers import PROBE_TIMEOUT_S
from support.processes import PATIENCE_S

MECHANISM = "SCRAM-SHA-512"
USER, PASSWORD = "relayer", "a pass-phrase; with $igns"
_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required"


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and the same with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    day, now = datetime.timedelta(days=1), datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOCALHOST))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public, both = folder / f"{name}.pem", folder / f"{name}-key.pem"
    public.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    both.write_bytes(secret + public.read_bytes())
    return public, both


class SecureKafkaServer(KafkaServer):
    """Takes clients that trust its certificate and know the password of USER, and no others."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate, self._key = make_certificate(directory, "broker")

    def let_in(self, user: str, password: str) -> None:
        """Blocking. Whom it lets in from now on by this password alone."""
        admin = AdminClient({"bootstrap.servers": self.address, **self.options()})
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(user, scram, password.encode())
        for done in admin.alter_user_scram_credentials([change]).values():
            done.result(PATIENCE_S)

    def options(
        self, password: str = PASSWORD, ca: Path | None = None, user: str = USER
    ) -> dict[str, str]:
        """What a client of it sets (librdkafka's names)."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": password,
            "ssl.ca.location": str(ca or self.certificate),
        }

    def _settings(self) -> dict[str, str]:
        own = super()._settings()
        listeners = own["listeners"].replace("PLAINTEXT://", "SASL_SSL://")
        return own | {
            "listeners": listeners,
            "advertised.listeners": f"SASL_SSL://{self.address}",
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": f"{_LOGIN};",
            # Who has an old password is found out while a test waits, not at the next connection.
            "connections.max.reauth.ms": "2000",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._key),
            # It talks to itself before it serves, and has to believe itself.
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificate),
        }

    def _format_words(self) -> list[str]:
        return ["--add-scram", f"{MECHANISM}=[name={USER},password={PASSWORD}]"]

    def _connect(self) -> socket.socket:
        context = ssl.create_default_context(cafile=self.certificate)
        plain = socket.create_connection((LOCALHOST, self.port), PROBE_TIMEOUT_S)
        try:
            return context.wrap_socket(plain, server_hostname=LOCALHOST)
        except BaseException:
            plain.close()
            raise
