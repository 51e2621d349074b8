"""The logs of a range: checked all together, and made into objects only where one is wanted."""

from collections.abc import Sequence
from typing import Any, overload

import msgspec

from corechain.protocol import native
from corechain.service.words import Log, LogParser, checked_logs, items_of, parse_log

_native_logs = native.function("read_logs")


class LogTable(Sequence[Log]):
    """Logs as corechain-native keeps them. `packed` makes rows of them without an object each."""

    __slots__ = ("packed",)

    def __init__(self, packed: Any) -> None:
        self.packed = packed

    def __len__(self) -> int:
        return int(self.packed.count)

    @overload
    def __getitem__(self, place: int) -> Log: ...
    @overload
    def __getitem__(self, place: slice) -> list[Log]: ...
    def __getitem__(self, place: int | slice) -> Log | list[Log]:
        places = range(len(self))[place]
        if isinstance(places, range):
            return [Log(*self.packed.log(one)) for one in places]
        return Log(*self.packed.log(places))

    def leading(self) -> list[Log]:
        """Those that begin a run of one block and contract."""
        return [self[place] for place in self.packed.leading()]


def leading(logs: Sequence[Log]) -> Sequence[Log]:
    """Of logs that were read here at least one for each block and contract. As all logs of a block
    were found to name one hash, they are enough to compare with headers."""
    return logs.leading() if isinstance(logs, LogTable) else logs


def read_logs(raw: object, addresses: Sequence[bytes], first: int, last: int) -> Sequence[Log]:
    """The answer to eth_getLogs without topics, as `parse_logs` reads it; where corechain-native
    is, and finds nothing odd in it, as a LogTable. Raises NodeUnavailable."""
    if _native_logs is not None and isinstance(raw, msgspec.Raw):
        packed = _native_logs(raw)
        if packed is not None and packed.fit(addresses, first, last):
            return LogTable(packed)
    return parse_logs(raw, addresses, [], first, last)


def parse_logs(
    raw: object, addresses: Sequence[bytes], topics: Sequence[Any], first: int, last: int
) -> list[Log]:
    """The answer to eth_getLogs, in order. Raises NodeUnavailable."""
    if isinstance(raw, msgspec.Raw):
        logs = LogParser().read_all(raw)
    else:
        logs = list(map(parse_log, items_of(raw, "logs")))
    return checked_logs(logs, addresses, topics, first, last)
