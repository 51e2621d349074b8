"""Data files at their own word: what they say that a batch is, lawful or not."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from corechain.protocol.batch import DEVICE, read_identity
from corechain.protocol.claims import claim_of
from corechain.protocol.errors import ProtocolError
from corechain.protocol.evidence import Dossier
from corechain.protocol.keys import DeviceIdentity
from corechain.protocol.reader import Reader
from corechain.protocol.reading import DeviceId
from corechain.service.errors import FileWithheld
from corechain.service.files.download import Unfit
from corechain.service.files.fetch import FileSources
from corechain.service.seldom import Seldom
from corechain_relayer.aggregator.files import data_path, sync_folder, write_durably

log = structlog.get_logger(__name__)

KEPT = 4
"""Opened files in memory: each is a few times as large as its bytes."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a file says. `fits`: its words hash to the commitment, so that they are the batch's."""

    dossier: Dossier
    devices: Mapping[DeviceId, DeviceIdentity]
    fits: bool


def opened(content: bytes, batch: int, commitment: bytes) -> Opened:
    """Raises Unfit for bytes that say nothing, or of another batch."""
    try:
        claim = claim_of(content)
        dossier = Dossier.claimed(claim)
        fits = dossier.revealed.commitment == commitment
    except ProtocolError as error:
        raise Unfit(f"no data file: {error}") from error
    if not fits and claim.header.batch_id != batch:
        raise Unfit("the data file of another batch")
    return Opened(dossier, _identities(claim.devices), fits)


def kept(folder: Path, commitment: bytes, content: bytes) -> None:
    """Writes a file: whole and durable, or not there."""
    path = data_path(folder, commitment)
    partial = path.with_suffix(".part")
    write_durably(partial, content)
    partial.replace(path)
    sync_folder(folder)


def _identities(rows: list[bytes]) -> dict[DeviceId, DeviceIdentity]:
    """Those whose key, if they have one, hashes to their id."""
    found = {}
    for row in rows:
        with suppress(ProtocolError):
            found[DeviceId(row[: DEVICE.size - 1])] = read_identity(Reader(row))
    return found


@dataclass(slots=True)
class Shelf:
    """Files from the sources, kept in a folder as long as they may be needed again: what was
    fetched once need not be fetched after a restart."""

    sources: FileSources
    folder: Path
    seldom: Seldom = field(default_factory=Seldom)
    _kept: "OrderedDict[bytes, Opened]" = field(default_factory=OrderedDict)

    async def get(self, batch: int, commitment: bytes) -> Opened | None:
        """The file of a batch; one that is said to be, and is not, where no source has better; None
        without any."""
        known = self._kept.get(commitment)
        if known is None:
            known = await self._read(batch, commitment) or await self._fetch(batch, commitment)
        if known is not None and known.fits:
            self._kept[commitment] = known
            self._kept.move_to_end(commitment)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return known

    async def _read(self, batch: int, commitment: bytes) -> Opened | None:
        path = data_path(self.folder, commitment)
        try:
            content = await asyncio.to_thread(path.read_bytes)
            found = await asyncio.to_thread(opened, content, batch, commitment)
        except (OSError, Unfit):
            return None
        return found if found.fits else None

    async def _fetch(self, batch: int, commitment: bytes) -> Opened | None:
        others: list[Opened] = []

        async def judge(content: bytes) -> Opened:
            found = await asyncio.to_thread(opened, content, batch, commitment)
            if not found.fits:
                others.append(found)
                raise Unfit("its words do not hash to the commitment")
            await self._keep(commitment, content)
            return found

        try:
            return await self.sources.first_fit(commitment, judge)
        except FileWithheld:
            return others[0] if others else None

    async def _keep(self, commitment: bytes, content: bytes) -> None:
        """Where it can be kept: a full disk must not hide a fraud that is at hand."""
        try:
            await asyncio.to_thread(kept, self.folder, commitment, content)
        except OSError as error:
            why = error.strerror or type(error).__name__
            self.seldom.say(log.error, "data file not kept", why, folder=str(self.folder), why=why)

    def drop(self, commitment: bytes) -> None:
        """Its window is over."""
        self._kept.pop(commitment, None)
        data_path(self.folder, commitment).unlink(missing_ok=True)
