"""A gateway that holds what it is sent, in order, and says of what it has: ReplayedSequence."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from corechain.protocol.reading import SignedReport, unpack_report, unpack_reports


@dataclass
class Held:
    """What the gateway has: packed reports by device and sequence, in the order of arrival.

    `lost`: so many answers are never given, as when a connection is cut at the worst moment.
    `conflicts`: reports that came under a sequence of another one: a report in two versions.
    """

    reports: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    lost: int = 0
    conflicts: int = 0
    traceparents: list[str | None] = field(default_factory=list)
    """Of each request."""

    def times(self) -> list[int]:
        """Of all observations, in the order of arrival."""
        found = [unpack_report(packed)[0].report for packed in self.reports.values()]
        return [item.observed_at for report in found for item in report.observations()]

    def take(self, signed: SignedReport) -> dict[str, Any]:
        """The result of one report."""
        report, packed = signed.report, signed.pack()
        result = {"device": "0x" + report.device.hex(), "sequence": report.sequence}
        before = self.reports.setdefault((report.device, report.sequence), packed)
        if before is packed:
            return result | {"status": "accepted"}
        self.conflicts += before != packed
        return result | {"status": "rejected", "error": "ReplayedSequence"}


class _Server(ThreadingHTTPServer):
    held: Held


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        held = self.server.held
        held.traceparents.append(self.headers["traceparent"])
        results = [held.take(signed) for signed in unpack_reports(body)]
        if held.lost:
            held.lost -= 1
            self.close_connection = True
            return
        content = json.dumps({"accepted": len(results), "results": results}).encode()
        self.send_response(202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@contextmanager
def gateway(held: Held) -> Iterator[str]:
    """Its URL."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.held = held
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
