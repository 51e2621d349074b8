"""The verifier of frames that is the fastest here: the native one, else the reference."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from threading import Lock

from corechain.protocol import native
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import ProtocolError
from corechain.protocol.frame import Columns, FrameVerifier
from corechain.protocol.keys import DeviceIdentity, verify
from corechain.protocol.reading import SIGNATURE_BYTES, DeviceId, SignedReport

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
        return self._judge(columns.packed, columns.starts, columns.report, identities)

    def verify_reports(
        self, reports: Sequence[SignedReport], identities: Sequence[DeviceIdentity]
    ) -> list[ProtocolError | None]:
        packed = [signed.pack() for signed in reports]
        starts = array("I", accumulate(map(len, packed), initial=0))
        return self._judge(b"".join(packed), starts, reports.__getitem__, identities)

    def _judge(
        self,
        packed: bytes,
        starts: "array[int]",
        report: Callable[[int], SignedReport],
        identities: Sequence[DeviceIdentity],
    ) -> list[ProtocolError | None]:
        library = native.library
        assert library is not None, "corechain-native is not installed"
        devices = [identity.device for identity in identities]
        curves = bytes([identity.key_type for identity in identities])
        keys = self.known.of(devices, library.UNKNOWN_KEY)
        verdicts, digests = library.verify_frame(
            packed, starts, self.domain.separator, devices, curves, keys
        )
        faults: list[ProtocolError | None] = [None] * len(devices)
        for index in _places(verdicts, library.LEARNED):
            self.known.learn(devices[index], bytes(keys[64 * index : 64 * index + 64]))
        for index in _places(verdicts, library.UNJUDGED):
            digest = digests[32 * index : 32 * index + 32]
            signature = packed[starts[index + 1] - SIGNATURE_BYTES : starts[index + 1]]
            faults[index] = _fault(identities[index], digest, signature)
        # The reference's own words; it is rare, and 50 us more are its sender's only.
        for index in _places(verdicts, library.INVALID):
            faults[index] = self._fault(report(index), identities[index])
        return faults


def _places(verdicts: bytes, wanted: int) -> list[int]:
    # Most frames have none: bytes are searched much faster than a loop looks at each.
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
