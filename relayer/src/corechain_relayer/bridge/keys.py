"""Keys of stations: made here, marked as a bridge's, one file each that only the owner can read.

Files, not an encrypted keystore: the process has to sign without anybody who types a passphrase,
and a passphrase in its environment protects no better than the mode of a file.
"""

import os
import secrets
from functools import lru_cache
from pathlib import Path

from coincurve import PrivateKey, PublicKey

from corechain.protocol.errors import CoreChainError
from corechain.protocol.keys import Secp256k1Key, device_id
from corechain.protocol.provenance import Provenance, provenance_of
from corechain.protocol.signature import SECP256K1_ORDER

KEY_BYTES = 32
_LIMIT = 1 << 22
"""64 times the number of tries that are needed on average: not to be met before the sun is cold."""


class KeyMissing(CoreChainError):
    """The file with a station's key is not there, or holds none. The message names it."""


def new_key() -> Secp256k1Key:
    """A key whose device id has the mark of bridges: some 65,000 tries, 0.4 s.

    One random start, then the next secret is one more, and its public key a point further: a tenth
    of the cost of a new pair, and as hard to guess as the start.
    """
    step = PrivateKey((1).to_bytes(KEY_BYTES, "big")).public_key
    secret = secrets.randbelow(SECP256K1_ORDER - _LIMIT - 1) + 1
    public = PrivateKey(secret.to_bytes(KEY_BYTES, "big")).public_key
    for number in range(secret, secret + _LIMIT):
        device = device_id(public.format(compressed=False)[1:])
        if provenance_of(device) is Provenance.BRIDGE:
            return Secp256k1Key(number.to_bytes(KEY_BYTES, "big"))
        public = PublicKey.combine_keys([public, step])
    raise AssertionError("no key with the mark of bridges")


class KeyFolder:
    """`<device id>.key` files in a folder of their own, mode 0600 in 0700."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.of = lru_cache(1 << 16)(self._read)

    def keep(self, key: Secp256k1Key) -> None:
        """Durable when it returns; not there when it raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(key.identity.device)
        # The mode at creation: a chmod afterwards would leave a moment in which everybody can read.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(key.secret.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink()
            raise
        self._sync_folder()

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, device: bytes) -> Path:
        return self.folder / f"{device.hex()}.key"

    def _read(self, device: bytes) -> Secp256k1Key:
        """Raises KeyMissing, which does not show what the file holds."""
        path = self._path(device)
        try:
            key = Secp256k1Key(bytes.fromhex(path.read_text().strip()))
        except (OSError, ValueError, CoreChainError):
            raise KeyMissing(f"{path} does not hold the key of 0x{device.hex()}") from None
        if key.identity.device != device:
            raise KeyMissing(f"{path} holds the key of another device")
        return key
