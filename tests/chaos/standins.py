"""What the aggregator waits for or asks in a story where it does not matter."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from chaos.lane import run
from chaos.world import World
from corechain.protocol.reading import DeviceId


class Later:
    """Stands for the task that seals: it goes on at some moment, or when it is waited for."""

    def __init__(self, world: World, work: Any) -> None:
        self.world, self.work = world, work
        self.ran, self.made = False, False
        self.error: Exception | None = None

    def done(self) -> bool:
        if not self.ran and self.world.rng.random() < 0.5:
            self._go()
        return self.ran

    def _go(self) -> None:
        self.ran = True
        try:
            self.made = run(self.work())
        except Exception as error:  # whoever waits gets it
            self.error = error

    def __await__(self) -> Generator[None, None, bool]:
        if not self.ran:
            self._go()
        if self.error is not None:
            raise self.error
        return self.made
        yield


class Nothing:
    """Parts of which only the answers count: there is nothing to wait for."""

    identities: Mapping[Any, Any] = {}

    def __init__(self, view: "Nothing | None" = None) -> None:
        self.view = view

    def unknown(self, devices: Iterable[DeviceId]) -> set[DeviceId]:
        return set()

    def is_within(self, seconds: float) -> bool:
        return True

    async def among(self, keys: Sequence[bytes]) -> frozenset[bytes]:
        return frozenset()

    async def room(self) -> None:
        pass

    def added(self, size: int) -> None:
        pass

    def set(self) -> None:
        pass

    def kept(self, batch: Any) -> Any:
        """What the journal keeps of it."""
        return batch

    def intent(self, number: int, commitment: bytes) -> None:
        pass
