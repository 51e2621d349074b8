"""What deploy/nginx promises, a property each, by the real NGINX before servers that keep a record.

given two backends
  ├── who has fewer requests under way is asked; connections to them are kept
  ├── a report that two of them hang up on is tried at the third, and not for ever
  ├── what may not be repeated is tried elsewhere only where nobody took it
  ├── an event of a stream comes when it is sent, however long nothing came before
  ├── what a client says of its address reaches nobody
  ├── no spelling of the operations' paths reaches them
  ├── requests that NGINX cannot read are problem documents, with the names and titles of ours
  ├── for one that hangs NGINX refuses in time, and asks it no more for a while
  └── behind a name with `resolve`, whoever has the name now is asked
given TLS
  └── versions before 1.2 are refused, and browsers are told to keep to it
"""

import http.client
import json
import re
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.kafka_secure import make_certificate
from support.processes import PATIENCE_S, eventually

from corechain.devnet.nginx import Behind, NginxServer
from corechain.devnet.process import free_port
from corechain.protocol.errors import ProtocolError
from corechain.protocol.problems import problem_title
from corechain.service import http_protocol
from corechain_indexer.api.stream import HEARTBEAT_S

CONF = Path(__file__).resolve().parents[2] / "deploy" / "nginx"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Backend:
    """Keeps what it is asked. `held`: it answers nothing until that is set. `mute`: it hangs up."""

    listener: socket.socket
    mute: bool = False
    held: threading.Event = field(default_factory=threading.Event)
    heads: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while head := _head(lines):
                self.heads.append(head)
                length = re.search(r"(?i)content-length: (\d+)", head)
                lines.read(int(length[1]) if length else 0)
                if self.mute:
                    return
                self.held.wait(PATIENCE_S)
                connection.sendall(self._said(head))

    def _said(self, head: str) -> bytes:
        return ANSWER


def _head(lines: object) -> str:
    found = ""
    while (line := lines.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
        found += line.decode("latin-1")
    return found


@contextmanager
def backend(
    *, mute: bool = False, held: bool = False, place: tuple[str, int] = ("127.0.0.1", 0)
) -> Iterator[Backend]:
    with socket.create_server(place) as listener:
        found = Backend(listener, mute)
        if not held:
            found.held.set()
        thread = threading.Thread(target=found.serve, daemon=True)
        thread.start()
        yield found
        found.held.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE_S)


@contextmanager
def nginx(folder: Path, *ports: int, tls: Path | None = None) -> Iterator[NginxServer]:
    with NginxServer(folder / "nginx", Behind(ports, ports, tls)) as running:
        yield running


def ask(
    port: int, method: str, path: str, body: bytes | None = None, **fields: str
) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_who_has_less_to_do_is_asked_over_kept_connections(tmp_path: Path) -> None:
    with backend(held=True) as busy, backend() as idle:  # noqa: SIM117
        with nginx(tmp_path, busy.port, idle.port) as running:
            first = [
                threading.Thread(target=ask, args=(running.api_port, "GET", "/v1/status"))
                for _ in "12"
            ]
            for thread in first:
                thread.start()
            # Of two at a time each backend gets one; the busy one keeps its own.
            assert eventually(lambda: len(busy.heads) == 1 and len(idle.heads) >= 1)
            before = len(idle.heads)
            for _ in range(20):
                assert ask(running.api_port, "GET", "/v1/status")[0] == 200
            assert len(busy.heads) == 1
            assert len(idle.heads) == before + 20
            assert idle.connections <= 4, "two workers of NGINX keep theirs"
            busy.held.set()
            for thread in first:
                thread.join(PATIENCE_S)


def test_a_report_is_tried_at_the_next_ones_and_no_more_than_three(tmp_path: Path) -> None:
    with backend(mute=True) as one, backend(mute=True) as two, backend() as good:  # noqa: SIM117
        with nginx(tmp_path, one.port, two.port, good.port) as running:
            for _ in range(6):
                assert ask(running.port, "POST", "/v1/reports", b"[]")[0] == 200
    mutes = [backend(mute=True) for _ in range(4)]
    with mutes[0] as a, mutes[1] as b, mutes[2] as c, mutes[3] as d:  # noqa: SIM117
        with nginx(tmp_path / "four", a.port, b.port, c.port, d.port) as running:
            status, body = ask(running.port, "POST", "/v1/reports", b"[]")
            assert status == json.loads(body)["status"] == 503
            assert sum(len(one.heads) for one in (a, b, c, d)) == 3


@pytest.mark.parametrize("path", ["/v1/channel-states", "/v1/reports/other"])
def test_what_may_have_been_done_is_not_done_again(tmp_path: Path, path: str) -> None:
    with backend(mute=True) as one, backend(mute=True) as two:
        with nginx(tmp_path, one.port, two.port) as running:
            assert ask(running.port, "POST", path, b"{}")[0] == 503
        assert len(one.heads) + len(two.heads) == 1
    with backend() as good, nginx(tmp_path / "gone", free_port(), good.port) as running:
        for _ in range(4):
            assert ask(running.port, "POST", path, b"{}")[0] == 200, "nobody took the connection"


def test_an_event_comes_when_it_is_sent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # noqa: SIM117
        with nginx(tmp_path, listener.getsockname()[1]) as running:
            client = socket.create_connection(("127.0.0.1", running.api_port), PATIENCE_S)
            with client, client.makefile("rb") as lines:
                client.sendall(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n")
                server, _ = listener.accept()
                with server:
                    server.recv(65_536)
                    server.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
                    for number in (b"1", b"2"):
                        # The next one is sent only when this one has arrived.
                        server.sendall(b"data: " + number + b"\n\n")
                        assert _until(lines, b"data: " + number)


def _until(lines: object, wanted: bytes) -> bool:
    while line := lines.readline():  # type: ignore[attr-defined]
        if line.strip() == wanted:
            return True
    return False


def seconds(name: str, file: str) -> float:
    found = re.search(rf"^\s*{name} (\d+)s;", (CONF / file).read_text(), re.M)
    assert found is not None, name
    return float(found[1])


def test_a_quiet_stream_is_not_cut_and_no_request_meets_a_closing_connection() -> None:
    """the timeouts fit ours: of pings, of kept connections, of the longest query"""
    assert seconds("proxy_read_timeout", "proxy.conf") >= 2 * HEARTBEAT_S
    kept = http_server_keeps_s()
    assert seconds("keepalive_timeout", "templates/corechain.conf.template") <= kept - 10


def http_server_keeps_s() -> int:
    from corechain_indexer.settings import Settings as Indexer
    from corechain_relayer.settings import Settings as Relayer

    return min(int(kind.model_fields["keep_alive_s"].default) for kind in (Indexer, Relayer))


def test_what_a_client_says_of_its_address_reaches_nobody(tmp_path: Path) -> None:
    with backend() as seen, nginx(tmp_path, seen.port) as running:
        said = {"x_forwarded_for": "10.9.8.7", "forwarded": "for=10.9.8.7", "x_real_ip": "10.9.8.7"}
        for port, path in ((running.port, "/v1/reports"), (running.api_port, "/v1/events"),
                           (running.api_port, "/v1/status")):  # fmt: skip
            ask(port, "GET", path, **said, x_forwarded_proto="https")
        assert len(seen.heads) == 3
        for head in seen.heads:
            assert "10.9.8.7" not in head
            fields = dict(line.split(": ", 1) for line in head.splitlines()[1:])
            assert fields["X-Forwarded-For"] == fields["X-Real-IP"] == "127.0.0.1"
            assert fields["X-Forwarded-Proto"] == "http"


@contextmanager
def name_server(address: list[str]) -> Iterator[int]:
    """Its port. To any question it answers the one address there is at that moment."""

    def answer() -> None:
        while True:
            try:
                question, client = names.recvfrom(512)
            except OSError:
                return
            asked_for_a = question[-3] == 1
            # QR, RA; as many answers as there are addresses of version 4 (RFC 1035, section 4.1).
            head = question[:2] + bytes([0x81, 0x80, 0, 1, 0, int(asked_for_a), 0, 0, 0, 0])
            packed = bytes([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]) + socket.inet_aton(address[0])
            names.sendto(head + question[12:] + (packed if asked_for_a else b""), client)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as names:
        names.bind(("127.0.0.1", 0))
        names.settimeout(PATIENCE_S)
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield names.getsockname()[1]


def test_behind_a_name_whoever_has_it_now_is_asked(tmp_path: Path) -> None:
    address = ["127.0.0.1"]
    with (
        backend() as before,
        backend(place=("127.0.0.2", before.port)) as after,
        name_server(address) as names,
    ):
        lines = (
            f"resolver 127.0.0.1:{names} valid=1s ipv6=off; "
            f"server moves.test:{before.port} resolve max_fails=1 fail_timeout=2s;"
        )
        behind = Behind([], [], limits={"GATEWAYS": lines})
        with NginxServer(tmp_path / "nginx", behind) as running:

            def reaches(one: Backend) -> bool:
                seen = len(one.heads)
                return ask(running.port, "GET", "/v1/x")[0] == 200 and len(one.heads) > seen

            assert eventually(lambda: reaches(before))
            address[0] = "127.0.0.2"
            assert eventually(lambda: reaches(after))


class Hasty(NginxServer):
    """A minute is a second."""

    def _write(self) -> None:
        super()._write()
        file = self.directory / "proxy.conf"
        text = file.read_text()
        for before, after in (
            ("read_timeout 60s", "read_timeout 1s"),
            ("timeout 15s", "timeout 250ms"),
        ):
            assert before in text
            text = text.replace(before, after)
        file.write_text(text)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_that_hangs_is_refused_for_and_left_out(tmp_path: Path, method: str) -> None:
    path, body = ("/v1/status", None) if method == "GET" else ("/v1/reports", b"[]")
    with backend(held=True) as hung, backend() as good:  # noqa: SIM117
        with Hasty(tmp_path / "nginx", Behind([hung.port, good.port], [])) as running:
            first = next(
                found for _ in "1234" if (found := ask(running.port, method, path, body))[0] != 200
            )
            assert first[0] == 503, "not 504: whoever asks again is answered by another one"
            assert json.loads(first[1])["type"] == "urn:corechain:error:Unavailable"
            before = len(hung.heads)
            for _ in range(4):
                assert ask(running.port, method, path, body)[0] == 200
            assert len(hung.heads) == before


SPELLINGS = (
    "/metrics", "/ready", "/metrics?x=1", "//metrics", "/./ready", "/v1/../metrics",
    "/%6detrics", "/v1/%2e%2e/ready",
)  # fmt: skip


def test_no_spelling_of_the_operations_paths_reaches_them(tmp_path: Path) -> None:
    with backend() as seen, nginx(tmp_path, seen.port) as running:
        for port in (running.port, running.api_port):
            for path in SPELLINGS:
                assert ask(port, "GET", path)[0] == 404, path
            for path in ("/metrics/", "/METRICS", "/ready%2f"):
                ask(port, "GET", path)
        for head in seen.heads:
            assert unquote(head.split()[1]).partition("?")[0] not in ("/metrics", "/ready")


UNREAD = {
    "MalformedHttp": b"GET /v1/status HTTP/1.1\r\n\r\n",
    "TargetTooLong": b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "HeadTooLarge": b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 40_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize(("name", "request_"), UNREAD.items(), ids=UNREAD)
def test_what_nginx_cannot_read_is_refused_as_we_refuse_it(
    tmp_path: Path, name: str, request_: bytes
) -> None:
    with backend() as seen, nginx(tmp_path, seen.port) as running:
        with socket.create_connection(("127.0.0.1", running.api_port), PATIENCE_S) as client:
            client.sendall(request_)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            document = json.loads(answer.read())
        kind = getattr(http_protocol, name)
        assert answer.getheader("content-type") == "application/problem+json"
        assert answer.status == document["status"] == kind.status
        assert document["type"] == f"urn:corechain:error:{name}"
        assert seen.heads == []


def test_the_words_of_nginx_are_those_of_the_services() -> None:
    text = (CONF / "errors.conf").read_text()
    documents = [json.loads(found) for found in re.findall(r"return \d+ '(.*)';", text)]
    kinds = {kind.__name__: kind for kind in _kinds(ProtocolError)}
    assert len(documents) == 6
    for document in documents:
        name = document["type"].rpartition(":")[2]
        if name != "Unavailable":  # any TransportError's
            assert document["title"] == problem_title(kinds[name])
            assert document["status"] == kinds[name].status


def _kinds(kind: type[ProtocolError]) -> Iterator[type[ProtocolError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def test_tls_is_1_2_at_least_and_browsers_keep_to_it(tmp_path: Path) -> None:
    public, both = make_certificate(tmp_path, "nginx")
    (tmp_path / "fullchain.pem").write_bytes(public.read_bytes())
    (tmp_path / "privkey.pem").write_bytes(both.read_bytes())
    with backend() as seen, nginx(tmp_path, seen.port, tls=tmp_path) as running:
        for version, taken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True),
                               (ssl.TLSVersion.TLSv1_3, True)):  # fmt: skip
            context = ssl.create_default_context(cafile=str(public))
            context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else OpenSSL would not even offer 1.1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # for naming 1.1
                context.minimum_version = context.maximum_version = version
            connection = http.client.HTTPSConnection(
                "127.0.0.1", running.api_port, timeout=PATIENCE_S, context=context
            )
            with closing(connection):
                if not taken:
                    with pytest.raises(ssl.SSLError, match=r"(?i)protocol version|alert"):
                        connection.connect()
                    continue
                connection.request("GET", "/v1/status")
                answer = connection.getresponse()
                assert answer.getheader("strict-transport-security") == "max-age=31536000"
