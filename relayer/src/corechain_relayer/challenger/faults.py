"""What goes wrong with one batch, and keeps us from no other: a node that is behind, and mistakes
of ours, which the batch may have been made for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import TransportError
from corechain.service.errors import Halt, NodeBehind
from corechain_relayer.challenger.alerts import UNPROVABLE, ChallengerAlerts
from corechain_relayer.challenger.spans import Key, name_of
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Faults:
    """`later` puts a batch off. `keys`: those on which we failed as nobody foresaw."""

    alerts: ChallengerAlerts
    metrics: Metrics
    later: Callable[[Key], None]
    keys: set[Key] = field(default_factory=set)

    @contextmanager
    def alone(self, key: Key) -> Iterator[None]:
        """Raises outages, and what halts us: they are not this batch's."""
        try:
            yield
        except NodeBehind as error:
            log.warning("judged later", batch=name_of(key), why=str(error))
            self.later(key)
        except (TransportError, Halt, OSError):
            raise
        except Exception as error:
            self._note(key, error)
            self.later(key)
        else:
            self.keys.discard(key)

    def _note(self, key: Key, error: Exception) -> None:
        name, kind = name_of(key), type(error).__name__
        self.metrics.challenger_faults.inc()
        if key not in self.keys:  # it is tried again, and again
            log.critical("challenger failed on a batch", batch=name, exc_info=error)
        self.keys.add(key)
        text = f"batch {name}: this challenger failed on it ({kind}); its log says where"
        self.alerts.say(UNPROVABLE, name, text)
