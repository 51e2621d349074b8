"""The verifier of frames that is the fastest here: the native one, else the reference."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from corechain.protocol import native
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import ProtocolError
from corechain.protocol.frame import Columns, FrameVerifier
from corechain.protocol.keys import DeviceIdentity, verify
from corechain.protocol.reading import DeviceId

MOST_KEYS = 1 << 20
"""About 250 MB of keys. A gateway meets its registered devices alone; who opens data files of many
networks forgets the device that was learned first."""


@dataclass(slots=True, eq=False)
class KnownKeys:
    """Public keys (x ‖ y) of secp256k1 devices, each learned by one recovery. An id is its key's
    hash, so that what was learned stays true in every domain. Safe to share between threads."""

    most: int = MOST_KEYS
    _keys: dict[DeviceId, bytes] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, devices: Sequence[DeviceId], unknown: bytes) -> bytearray:
        """64 bytes a device, `unknown` where nothing was learned."""
        known = self._keys.get
        return bytearray().join([known(device, unknown) for device in devices])

    def learn(self, device: DeviceId, key: bytes) -> None:
        with self._lock:
            while len(self._keys) >= self.most and device not in self._keys:
                del self._keys[next(iter(self._keys))]
            self._keys[device] = key


_KNOWN = KnownKeys()


@dataclass(frozen=True, slots=True)
class NativeFrameVerifier(FrameVerifier):
    """Checks a frame's secp256k1 signatures by one call of corechain-native, which needs to be
    installed. Verdicts and their words are those of FrameVerifier."""

    known: KnownKeys = field(default=_KNOWN, repr=False, compare=False)

    def verify_all(
        self, columns: Columns, identities: Sequence[DeviceIdentity]
    ) -> list[ProtocolError | None]:
        assert len(identities) == len(columns), "one identity a report"
        assert native.library is not None, "corechain-native is not installed"
        devices = [identity.device for identity in identities]
        curves = bytes([identity.key_type for identity in identities])
        keys = self.known.of(devices, native.library.UNKNOWN_KEY)
        verdicts, digests = native.library.verify_frame(
            columns.packed, columns.starts, self.domain.separator, devices, curves, keys
        )
        faults: list[ProtocolError | None] = [None] * len(devices)
        # None in most frames: bytes are searched much faster than a loop would look at each.
        for index in _places(verdicts, native.library.LEARNED):
            self.known.learn(devices[index], bytes(keys[64 * index : 64 * index + 64]))
        for index in _places(verdicts, native.library.UNJUDGED):
            digest = digests[32 * index : 32 * index + 32]
            faults[index] = _fault(identities[index], digest, columns.signature(index))
        for index in _places(verdicts, native.library.INVALID):
            faults[index] = self._fault(columns.report(index), identities[index])
        return faults


def _places(verdicts: bytes, wanted: int) -> list[int]:
    if wanted not in verdicts:
        return []
    return [index for index, verdict in enumerate(verdicts) if verdict == wanted]


def _fault(identity: DeviceIdentity, digest: bytes, signature: bytes) -> ProtocolError | None:
    try:
        verify(identity, digest, signature)
    except ProtocolError as error:
        return error
    return None


def frame_verifier(domain: Domain) -> FrameVerifier:
    """The native verifier where corechain-native is there, else the reference."""
    is_native = native.function("verify_frame") is not None
    return NativeFrameVerifier(domain) if is_native else FrameVerifier(domain)
