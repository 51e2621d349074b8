"""What an autoscaler makes of a service, step by step."""

import time
from dataclasses import dataclass, field
from typing import Any

from support.control_plane import ControlPlane
from support.processes import PATIENCE_S, eventually
from support.running_site import SPACE, ready

CALM = {
    "stabilizationWindowSeconds": 5,
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 5}],
}
"""For `scaleDown`: the manifests wait five minutes before they take pods, few a minute."""


@dataclass(slots=True)
class Scaled:
    """The pods of a service; `steps` is kept for the table of `make test-cluster`."""

    plane: ControlPlane
    service: str
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def pods(self) -> int:
        return len(ready(self.plane, self.service))

    def become(self, pods: int, since: float | None = None, **load: float) -> None:
        """Waits until so many are ready; there are never more meanwhile. `since`: when `load` came,
        of time.monotonic(); now unless it is given."""
        started, seen = since or time.monotonic(), [self.pods]

        def are_there() -> bool:
            seen.append(self.pods)
            return seen[-1] == pods

        assert eventually(are_there, 2 * PATIENCE_S), (pods, load, seen, self.told())
        assert max(seen) <= max(pods, seen[0])
        seconds = round(time.monotonic() - started, 1)
        self.steps.append({"service": self.service, **load, "pods": pods, "seconds": seconds})

    def told(self) -> str:
        """What the autoscalers say of themselves, for who reads of a failure."""
        return self.plane.done(*SPACE, "describe", "hpa,scaledobject")
