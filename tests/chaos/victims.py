"""What the crash matrix kills, and who reports to it meanwhile."""

import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
from relayer.support import RelayerProcess, Sensor
from support.forked import Forked

from chaos.dying import live
from corechain.protocol.reading import SignedReport

REPORT_EVERY_S = 0.05


class WholeRelayer(RelayerProcess):
    """Started as an operator starts it, with all that has to be imported."""

    def launch(self) -> None:
        self.starts += 1
        command = [sys.executable, "-m", self.program, "run"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], **self.environment},
                stdout=log,
                stderr=log,
            )


@dataclass
class DyingRelayer(RelayerProcess):
    """Ends itself at `point`; with an empty one it lives."""

    point: str = ""
    nth: int = 1

    def launch(self) -> None:
        self.starts += 1
        self.log_path.touch()
        named = {"CHAOS_POINT": self.point, "CHAOS_NTH": str(self.nth)} if self.point else {}
        environment = {"PATH": os.environ["PATH"], **self.environment, **named}
        self.process = Forked(live, environment, str(self.log_path))

    @property
    def is_dead(self) -> bool:
        return self.process is None or self.process.poll() is not None


@dataclass
class Device:
    """Sends until it is told to stop. A report is repeated until something is said about it."""

    sensor: Sensor
    relayer: RelayerProcess
    acknowledged: list[SignedReport] = field(default_factory=list)
    odd: Counter[int] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        report = self.sensor.report()
        while not self.stop.wait(REPORT_EVERY_S):
            with suppress(httpx.HTTPError):
                status = self.relayer.send(report).status_code
                # 409: the answer to an earlier try was lost; the report was not.
                if status in (202, 409):
                    self.acknowledged.append(report)
                    report = self.sensor.report()
                elif status != 503:
                    self.odd[status] += 1
