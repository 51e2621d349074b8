"""What can be wrong with a history, by name."""

from corechain.protocol.batch import lane_of, number_of
from corechain.protocol.errors import ProtocolError, TransportError


def _shown(batch: int) -> str:
    return f"{batch} (lane {lane_of(batch)}, number {number_of(batch)})"


class HistoryGap(ProtocolError):
    """The API left out batches that are on the chain, or must be: from `first` to `last`. Readings
    may be missing. Ask another index, or take what there is with gaps="report"."""

    def __init__(self, first: int, last: int, why: str) -> None:
        span = _shown(first) if first == last else f"{_shown(first)} to {_shown(last)}"
        advice = 'ask another index, or pass gaps="report" and look at `gaps` at the end'
        super().__init__(f"batch {span} is missing: {why}; {advice}")
        self.first, self.last = first, last


class HistoryBehind(TransportError):
    """The chain has a batch that the index does not show yet. Ask again in a moment."""

    def __init__(self, batch_id: int) -> None:
        super().__init__(
            f"batch {_shown(batch_id)} is on the chain, and the index does not show it yet: ask"
            " again in a moment, or leave out `end`"
        )
        self.batch_id = batch_id


class HistoryReorged(TransportError):
    """The chain was reorganised since earlier pages were read: `batch_id` does not follow what was
    read before. Begin again, with finality="finalised" if this must not happen."""

    def __init__(self, batch_id: int) -> None:
        super().__init__(
            f"batch {_shown(batch_id)} does not follow the ones read before: the chain was"
            ' reorganised meanwhile; begin again, or ask with finality="finalised"'
        )
        self.batch_id = batch_id


class MissingExtra(ProtocolError):
    """An optional package is not installed; `extra` is what brings it."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        # Not on an index yet: what is told has to work.
        way = f"pip install './sdk[{extra}]' in a checkout"
        super().__init__(f"{what} needs {package}, of corechain[{extra}]: {way}")
        self.extra, self.package = extra, package


class ExportMismatch(ProtocolError):
    """What lies beside the file to be written is of another question, or is not what was left."""

    def __init__(self, path: object, why: str) -> None:
        advice = "name another file, or remove what is there"
        super().__init__(f"{path}: cannot go on with this export: {why}; {advice}")
        self.path = str(path)
