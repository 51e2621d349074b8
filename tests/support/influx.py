"""A real InfluxDB 2, for `make test-influx`; and what is asked of it past our own code."""

import http.client
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from corechain.devnet.errors import MissingProgram
from corechain.devnet.process import LOCALHOST, Command
from corechain.devnet.servers import PROBE_TIMEOUT_S, Server

from .processes import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / ".corechain" / "influx" / "influxd"
ORG, BUCKET, TOKEN = "corechain", "corechain", "a-token-of-the-tests"


class InfluxServer(Server):
    """InfluxDB 2 that is set up: an organisation, a bucket that keeps all, a token for all."""

    name = "influxd"

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    def _command(self) -> Command:
        if not PROGRAM.is_file():
            raise MissingProgram("InfluxDB 2", "run `make influx`, which builds it")
        places = {"bolt": "bolt", "sqlite": "sqlite", "engine": "engine"}
        paths = [f"--{name}-path={self.directory / place}" for name, place in places.items()]
        address = f"--http-bind-address={LOCALHOST}:{self.port}"
        # Its home is where it would write a file of its own.
        home = {**os.environ, "HOME": str(self.directory)}
        options = ["--reporting-disabled", "--log-level=error"]
        return Command([PROGRAM, *paths, address, *options], environment=home)

    def _is_ready(self) -> bool:
        try:
            status, _ = self.ask("GET", "/health", timeout_s=PROBE_TIMEOUT_S)
        except OSError:
            return False
        return status == http.client.OK

    def complete(self) -> None:
        super().complete()
        _, said = self.ask("GET", "/api/v2/setup")
        if json.loads(said)["allowed"]:
            self.told("POST", "/api/v2/setup", _setup())

    def ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] = {},
        timeout_s: float = PATIENCE_S,
    ) -> tuple[int, bytes]:
        """Raises OSError."""
        connection = http.client.HTTPConnection(LOCALHOST, self.port, timeout=timeout_s)
        known = {"Authorization": f"Token {TOKEN}", **headers}
        try:
            connection.request(method, path, body, known)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()

    def told(self, method: str, path: str, document: Any = None) -> Any:
        """What it answered; it must be content."""
        body = None if document is None else json.dumps(document)
        status, said = self.ask(method, path, body, {"Content-Type": "application/json"})
        assert status < http.client.BAD_REQUEST, (status, said)
        return json.loads(said) if said else None

    def write(self, lines: str, bucket: str = BUCKET) -> None:
        path = f"/api/v2/write?org={ORG}&bucket={bucket}&precision=ns"
        status, said = self.ask("POST", path, lines)
        assert status == http.client.NO_CONTENT, said

    def flux(self, query: str) -> list[dict[str, str]]:
        """Rows by column name, as text."""
        headers = {"Content-Type": "application/vnd.flux", "Accept": "application/csv"}
        status, said = self.ask("POST", f"/api/v2/query?org={ORG}", query, headers)
        assert status == http.client.OK, said
        return _rows(said.decode())

    def bucket_id(self, name: str = BUCKET) -> str:
        return str(self.told("GET", f"/api/v2/buckets?name={quote(name)}")["buckets"][0]["id"])

    def create_bucket(self, name: str, kept_s: int = 0) -> str:
        org = self.told("GET", f"/api/v2/orgs?org={ORG}")["orgs"][0]["id"]
        rules = [{"type": "expire", "everySeconds": kept_s}] if kept_s else []
        document = {"orgID": org, "name": name, "retentionRules": rules}
        return str(self.told("POST", "/api/v2/buckets", document)["id"])

    def delete_bucket(self, name: str = BUCKET) -> None:
        self.told("DELETE", f"/api/v2/buckets/{self.bucket_id(name)}")


def _setup() -> dict[str, Any]:
    return {
        "username": "operator",
        "password": "only-for-tests",
        "org": ORG,
        "bucket": BUCKET,
        "retentionPeriodSeconds": 0,
        "token": TOKEN,
    }


def _rows(text: str) -> list[dict[str, str]]:
    found, names = [], None
    for line in text.split("\r\n"):
        if not line:
            names = None
            continue
        cells = line.split(",")
        if names is None:
            names = cells
        else:
            found.append(dict(zip(names, cells, strict=True)))
    return found
