"""The head that a fleet's files share: what is in them, and which devices it is about."""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from corechain.devnet.fleet.errors import ImpossibleFleet, MalformedFleetFile
from corechain.devnet.fleet.shape import Shape
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId

VERSION = 1
# Magic, version, bytes of the JSON document behind it.
_START = struct.Struct(">4sHI")
MAX_DOCUMENT_BYTES = 1 << 16
ID_BYTES = 20


@dataclass(frozen=True, slots=True)
class Head:
    """The fleet of a file: the chain and registry it signs for, its shape, its devices."""

    chain_id: int
    registry: bytes
    key_type: KeyType
    shape: Shape
    devices: Sequence[DeviceId]

    def pack(self, magic: bytes) -> bytes:
        document = {
            "chain_id": self.chain_id,
            "registry": self.registry.hex(),
            "key_type": int(self.key_type),
            **asdict(self.shape),
        }
        text = json.dumps(document).encode()
        return _START.pack(magic, VERSION, len(text)) + text + b"".join(self.devices)

    @classmethod
    def read(cls, path: Path, file: BinaryIO, magic: bytes, kind: str) -> Self:
        """Leaves `file` behind the head. Raises MalformedFleetFile."""
        start = file.read(_START.size)
        if len(start) < _START.size or not start.startswith(magic):
            raise MalformedFleetFile(path, f"not a file of {kind}")
        _, version, size = _START.unpack(start)
        if version != VERSION or size > MAX_DOCUMENT_BYTES:
            raise MalformedFleetFile(path, f"version {version} is not known here")
        try:
            return cls._of(json.loads(file.read(size)), file)
        except (ValueError, KeyError, TypeError, ImpossibleFleet) as error:
            raise MalformedFleetFile(path, f"its head is damaged ({error})") from error

    @classmethod
    def _of(cls, document: dict[str, object], file: BinaryIO) -> Self:
        names = "devices", "reports", "observations", "first_sequence", "by_device"
        shape = Shape(**{name: document[name] for name in names})  # type: ignore[arg-type]
        packed = file.read(shape.devices * ID_BYTES)
        if len(packed) < shape.devices * ID_BYTES:
            raise ValueError("it ends among its devices")
        devices = [DeviceId(packed[i : i + ID_BYTES]) for i in range(0, len(packed), ID_BYTES)]
        registry = bytes.fromhex(str(document["registry"]))
        chain_id, key_type = int(str(document["chain_id"])), KeyType(int(str(document["key_type"])))
        return cls(chain_id, registry, key_type, shape, devices)
