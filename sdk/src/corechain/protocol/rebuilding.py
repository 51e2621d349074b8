"""Opens a data file on columns: what `batch.rebuild` takes and refuses, its oracle, as a
`SealedBatch`. For services (extra `service`)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from corechain.protocol.batch import CONTEXT, DEVICE, Origin, read_identity, read_origin
from corechain.protocol.columns import bytes_as_text
from corechain.protocol.eip712 import registry_domain
from corechain.protocol.errors import MalformedDataFile, MalformedReport
from corechain.protocol.frame import Columns, columns_at
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reader import Reader
from corechain.protocol.reading import DeviceId
from corechain.protocol.sealing import CONTEXT_ROWS, SealedBatch, seal_columns
from corechain.protocol.states import StateColumns
from corechain.protocol.verifying import frame_verifier


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A data file that is the canonical one of its reports; no signature is checked yet."""

    batch: SealedBatch
    origin: Origin
    identities: Mapping[DeviceId, DeviceIdentity]
    """Of the devices that reported, as the file has them."""

    def check_signatures(self) -> None:
        """Every report is signed by its device. Raises InvalidSignature or HighS."""
        verifier = frame_verifier(registry_domain(self.origin.chain_id, self.origin.registry))
        reports = self.batch.reports
        signers = [self.identities[device] for device in reports.device_ids()]
        for fault in verifier.verify_all(reports, signers):
            if fault is not None:
                raise fault


def rebuild_columns(data_file: bytes) -> Rebuilt:
    """Parses a data file and seals its reports again; everything but signatures and registration.

    Raises MalformedDataFile (also UnknownRules, EmptyBatch), UnknownDevice, ReplayedSequence.
    """
    reader = Reader(data_file)
    origin = read_origin(reader)
    known = _read_devices(reader)
    states = _read_states(reader)
    batch = seal_columns(origin, _read_reports(reader), known, states)
    if batch.data_file != data_file:
        raise MalformedDataFile("the file is not the canonical file of its reports")
    return Rebuilt(batch, origin, known)


def _read_devices(reader: Reader) -> dict[DeviceId, DeviceIdentity]:
    count = reader.count()
    end = reader.offset + DEVICE.size * count
    block = reader.data[reader.offset : end]
    # Without a P-256 key among them all rows have one size.
    if len(block) == DEVICE.size * count and not block[20 :: DEVICE.size].strip(b"\x01"):
        reader.offset = end
        ids = (DeviceId(block[at : at + 20]) for at in range(0, len(block), DEVICE.size))
        return {device: DeviceIdentity(device, KeyType.SECP256K1) for device in ids}
    rows = (read_identity(reader) for _ in range(count))
    return {identity.device: identity for identity in rows}


def _read_states(reader: Reader) -> StateColumns:
    count = reader.count()
    whole = min(count, (len(reader.data) - reader.offset) // CONTEXT.size)
    rows = np.frombuffer(reader.data, CONTEXT_ROWS, whole, reader.offset)
    reader.offset += CONTEXT.size * whole
    if whole < count:
        reader.take(CONTEXT.size)  # says where the file ends
    keys = np.ascontiguousarray(rows["key"])
    times, since = (
        rows[high].astype(np.int64) << 32 | rows[low]
        for high, low in (("high", "low"), ("since_high", "since_low"))
    )
    states = StateColumns(
        keys[:, :20].tobytes(),
        np.ascontiguousarray(keys[:, 20:]).view(">u2").ravel().astype(np.uint16),
        rows["value"].astype(np.int64),
        times,
        since,
    )
    text = bytes_as_text(keys)
    # No canonical file; of two rows of a pair the reference takes the last.
    is_canonical = bool(np.greater(text[1:], text[:-1]).all())
    return states if is_canonical else StateColumns.of(states.mapping())


def _read_reports(reader: Reader) -> Columns:
    count = reader.count()
    try:
        return columns_at(reader.data, reader.offset, count)
    except MalformedReport as error:
        raise MalformedDataFile(str(error)) from error
