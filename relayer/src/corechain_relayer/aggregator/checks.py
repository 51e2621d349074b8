"""Opens frames from the bus again and trusts nothing in them but a seal of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from corechain.protocol.columns import Places, rows_of, take_columns
from corechain.protocol.errors import ProtocolError
from corechain.protocol.frame import Columns, FrameVerifier, columns_of
from corechain.protocol.reading import SignedReport
from corechain.service.progress import moved
from corechain_relayer.aggregator.devices import device_ids
from corechain_relayer.registry.view import RegistryView

Refused = tuple[SignedReport, ProtocolError]
NOTHING = columns_of(b"")


@dataclass(frozen=True, slots=True)
class Opened:
    """A frame's part of one lane. Vouched for: one of us has checked the signatures."""

    id: str
    columns: Columns
    vouched: bool
    rows: Places | None = None
    """The table's rows of its devices, where it has met all of them: looked up once a frame."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A frame's good reports, and the others with their errors."""

    id: str
    good: Columns
    bad: tuple[Refused, ...] = ()
    rows: Places | None = None
    """Of the good ones' devices, where they were looked up."""


def lanes_of(columns: Columns, lanes: int) -> Places:
    """`lane_of_device` of each report's device: its last 8 bytes times the lanes, div 2^64."""
    ends = np.ascontiguousarray(rows_of(columns.devices, 20)[:, 12:]).view(">u4")
    high, low = ends[:, 0].astype(np.uint64), ends[:, 1].astype(np.uint64)
    # In two halves: the whole product has more than 64 bits.
    many, half = np.uint64(lanes), np.uint64(32)
    return (high * many + (low * many >> half) >> half).astype(np.intp)


def divide(columns: Columns, lane: int, lanes: int) -> tuple[Columns, Mapping[int, Columns]]:
    """A frame's reports of this lane, and those of others: it was divided by another number."""
    if lanes == 1:
        return columns, {}
    parts = by_lane(columns, lanes)
    return parts.pop(lane, NOTHING), parts


def by_lane(columns: Columns, lanes: int) -> dict[int, Columns]:
    """Lane → its reports, of those lanes that have some."""
    owners = lanes_of(columns, lanes)
    found = np.unique(owners).tolist()
    if len(found) == 1:
        return {found[0]: columns}
    return {lane: take_columns(columns, np.flatnonzero(owners == lane)) for lane in found}


@dataclass(frozen=True, slots=True)
class FrameChecker:
    """Signatures of frames that nobody vouches for are verified once more, wherever they lay: one
    forged report would make the whole batch refutable. Revocation is the gateway's business: what
    it acknowledged is kept."""

    verifier: FrameVerifier

    def has_to_verify(self, opened: Opened) -> bool:
        return len(opened.columns) > 0 and not opened.vouched

    def check_all(self, frames: Sequence[Opened], view: RegistryView) -> list[Checked]:
        """Every device must be in the view."""
        checked = []
        for opened in frames:
            checked.append(self._check(opened, view))
            moved()  # all of them may be two million signatures
        return checked

    def _check(self, opened: Opened, view: RegistryView) -> Checked:
        columns = opened.columns
        if not self.has_to_verify(opened):
            return Checked(opened.id, columns, rows=opened.rows)
        identities = [view.identity(device) for device in device_ids(columns)]
        verdicts = self.verifier.verify_all(columns, identities)
        if not any(verdicts):
            return Checked(opened.id, columns, rows=opened.rows)
        good = [index for index, error in enumerate(verdicts) if error is None]
        bad = [(columns.report(i), error) for i, error in enumerate(verdicts) if error is not None]
        return Checked(opened.id, _selected(columns, good), tuple(bad))


def without_strangers(opened: Opened, view: RegistryView) -> tuple[Opened, list[Refused]]:
    """A frame without the reports of devices that the view does not know, and those."""
    known, unknown = [], []
    for index, device in enumerate(device_ids(opened.columns)):
        try:
            view.identity(device)
            known.append(index)
        except ProtocolError as error:
            unknown.append((opened.columns.report(index), error))
    return replace(opened, columns=_selected(opened.columns, known), rows=None), unknown


def _selected(columns: Columns, indexes: list[int]) -> Columns:
    return take_columns(columns, np.array(indexes, np.intp)) if indexes else NOTHING
