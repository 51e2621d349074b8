"""Authorities, and the certificates that they sign, as files."""

import datetime
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
ADDRESS = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
A_DAY = datetime.timedelta(days=1)


@dataclass
class Authority:
    """Signs certificates of 127.0.0.1 for whoever asks. `path`: its own certificate."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.path = self.folder / f"{self.name}.pem"
        own = self._made(self.name, self.key.public_key(), is_authority=True)
        self.path.write_bytes(own.public_bytes(PEM))

    def _made(
        self, name: str, key: ec.EllipticCurvePublicKey, is_authority: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - A_DAY)
            .not_valid_after(now + A_DAY)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if not is_authority:
            made = made.add_extension(ADDRESS, critical=False)
        return made.sign(self.key, SHA256())

    def issue(self, name: str, password: bytes = b"") -> tuple[Path, Path]:
        """The certificate and the key; both are in the second file, too."""
        key = ec.generate_private_key(ec.SECP256R1())
        protection = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, protection)
        certificate = self._made(name, key.public_key()).public_bytes(PEM)
        paths = self.folder / f"{name}-cert.pem", self.folder / f"{name}-key.pem"
        paths[0].write_bytes(certificate)
        paths[1].write_bytes(certificate + secret)
        return paths


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
