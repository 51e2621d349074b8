"""Opens a lane's frames, and shows an operator whose signatures have to be checked again."""

from dataclasses import dataclass, field

import structlog

from corechain_relayer.bus.frame import FrameKeys, OpenedFrame, Place, open_frame
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class FrameOpener:
    """For one lane. Each kind of doubt is logged once, and counted always."""

    keys: FrameKeys
    place: Place
    metrics: Metrics
    _logged: set[str] = field(default_factory=set)

    def open(self, payload: bytes) -> OpenedFrame:
        """Raises MalformedFrame."""
        opened = open_frame(payload, self.keys, self.place)
        if opened.doubt:
            self._doubt(opened.doubt)
        return opened

    def _doubt(self, doubt: str) -> None:
        self.metrics.frames_unvouched.labels(doubt).inc()
        if doubt in self._logged:
            return
        self._logged.add(doubt)
        # Without keys it is the operator's choice; with them, somebody else writes to the bus.
        emit = log.warning if self.keys.keys else log.info
        emit("frame not vouched for: its signatures are checked", why=doubt, lane=self.place.lane)
