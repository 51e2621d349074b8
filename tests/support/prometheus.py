"""A real Prometheus, as `make test-prometheus` has fetched it."""

import json
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import yaml

from corechain.devnet.process import LOCALHOST, Command
from corechain.devnet.servers import Server
from corechain.devnet.service import probe

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".corechain" / "prometheus" / "usr" / "bin"
LIMIT_S = 30.0


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [FOLDER / "promtool", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class PrometheusServer(Server):
    """`configuration`: what prometheus.yaml says."""

    name = "prometheus"

    def __init__(self, directory: Path, configuration: dict[str, Any]) -> None:
        super().__init__(directory)
        self.configuration = configuration

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    def _prepare(self) -> None:
        super()._prepare()
        (self.directory / "prometheus.yaml").write_text(yaml.safe_dump(self.configuration))

    def _command(self) -> Command:
        options = {
            "config.file": self.directory / "prometheus.yaml",
            "storage.tsdb.path": self.directory / "series",
            "web.listen-address": f"{LOCALHOST}:{self.port}",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        return Command([FOLDER / "prometheus", *words])

    def _is_ready(self) -> bool:
        try:
            return probe(self.port, "/-/ready")[0] == 200
        except OSError:
            return False

    def asked(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API; fails with its words."""
        query = urllib.parse.urlencode(parameters)
        status, body = probe(self.port, f"/api/v1/{path}?{query}", LIMIT_S)
        assert status == 200, f"{parameters}: {body}"
        return json.loads(body)["data"]

    def values(self, query: str) -> list[Any]:
        """An instant query's series."""
        return list(self.asked("query", query=query)["result"])
