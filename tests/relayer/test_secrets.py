"""What a running relayer knows is in its memory alone.

given a relayer with keys in files and passwords in its URLs
  when it has served
    none of them is in the command line of one of its processes, in its log, or in an answer
    metrics and the admin API are at the operations' port alone, where there is one
"""

from pathlib import Path

import pytest
from support.asking import HTTP
from support.processes import PATIENCE_S, family

from corechain.devnet.process import free_port
from corechain.devnet.service import probe
from relayer.conftest import Start
from relayer.support import SUBMITTER_KEY, WATCHTOWER_KEY, Sensor

FRAME_KEY, PASSWORD, TOKEN = "5e" * 32, "hunter2hunter2", "a token of sixteen or more"


def in_a_file(path: Path, text: str) -> str:
    path.touch(0o600)
    path.write_text(text)
    return str(path)


def test_no_secret_is_in_a_command_line_a_log_or_an_answer(
    start: Start, sensor: Sensor, environment: dict[str, str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    database = environment["RELAYER_DATABASE_URL"].replace("postgres@", f"postgres:{PASSWORD}@")
    del environment["RELAYER_SUBMITTER_KEY"]
    ops = free_port()
    relayer = start(
        RELAYER_OPS_PORT=str(ops),
        RELAYER_DATABASE_URL=database,
        RELAYER_SUBMITTER_KEY_FILE=in_a_file(tmp_path / "submitter", SUBMITTER_KEY),
        RELAYER_WATCHTOWER_KEY_FILE=in_a_file(tmp_path / "watchtower", WATCHTOWER_KEY),
        RELAYER_FRAME_KEY_FILE=in_a_file(tmp_path / "frame", FRAME_KEY),
        RELAYER_OPS_TOKEN_FILE=in_a_file(tmp_path / "token", TOKEN),
        RELAYER_LOG_LEVEL="debug",
    )
    assert relayer.send(sensor.report()).status_code == 202
    paths = "/ready", "/metrics", "/health"
    said = [relayer.get(path).text for path in (*paths, "/openapi.json")]
    assert [relayer.get(path).status_code for path in paths] == [200, 404, 200]
    found = [probe(ops, path, PATIENCE_S) for path in paths]
    assert [status for status, _ in found] == [200, 200, 200]
    assert "corechain_reports_accepted_total 1.0" in found[1][1]
    assert probe(ops, "/v1/reports", PATIENCE_S)[0] == 404
    assert probe(ops, "/v1/transactions", PATIENCE_S)[0] == 401
    assert relayer.get("/v1/transactions").status_code == 404
    bearer = {"authorization": f"Bearer {TOKEN}"}
    listed = HTTP.get(f"http://127.0.0.1:{ops}/v1/transactions?state=all", headers=bearer)
    assert listed.status_code == 200
    said.append(listed.text)
    said += [text for _, text in found]
    said += [" ".join(one.cmdline()) for one in family(relayer.process.pid)]
    relayer.stop()
    said.append(relayer.log_path.read_text())
    for secret in (SUBMITTER_KEY[2:], WATCHTOWER_KEY[2:], FRAME_KEY, PASSWORD, TOKEN):
        assert not [text for text in said if secret in text]
