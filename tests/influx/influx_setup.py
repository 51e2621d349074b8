"""`corechain indexer influx setup` on a real InfluxDB 2: it makes all, once.

given a server that nobody has used, or one that has users
  ├── buckets with retention, tasks and two tokens are there after it; a second run finds nothing
  ├── each token can do what it is for, and no more; it is in a file of mode 0600, and nowhere else
  ├── with --check nothing is made, and what differs is said
  ├── what others changed is set right; retention is not shortened unless that is said
  └── a token or a server that is none is named, with what to do
"""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.influx import ORG, TOKEN, InfluxServer
from support.odd_http import Odd, OddProxy
from typer.testing import CliRunner

from corechain_indexer.commands import commands
from corechain_indexer.errors import (
    AdminTokenMissing,
    AdminTokenRefused,
    NoInfluxDB,
    RetentionShortened,
    SeriesUnavailable,
)
from corechain_indexer.influx_setup import ADMIN, EXPORTER, PASSWORD, READER, set_up
from corechain_indexer.settings import Settings

DAY_S = 86_400


class UnusedServer(InfluxServer):
    """Nobody has set it up."""

    def complete(self) -> None:
        super(InfluxServer, self).complete()


@pytest.fixture
def unused(tmp_path: Path) -> Iterator[InfluxServer]:
    with UnusedServer(tmp_path / "unused") as server:
        yield server


@pytest.fixture
def used(tmp_path: Path) -> Iterator[InfluxServer]:
    with InfluxServer(tmp_path / "used") as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def settings(*urls: str, **more: object) -> Settings:
    base = {
        "rpc_url": "http://127.0.0.1:1",
        "deployment": "deployments/1.json",
        "database_url": "postgresql://127.0.0.1/none",
        "redis_url": "redis://127.0.0.1/0",
        "data_urls": "http://127.0.0.1/{commitment}",
        "influx_url": ",".join(urls),
        "influx_downsamples": True,
        "influx_keep_days": "30,90,0,0",
    }
    return Settings.model_validate({**base, **more})


def with_admin(folder: Path, *tokens: str) -> Path:
    folder.mkdir(mode=0o700)
    (folder / ADMIN).write_text(",".join(tokens))
    return folder


def done(
    wanted: Settings, folder: Path, *, check: bool = False, shorten: bool = False
) -> list[str]:
    said: list[str] = []
    set_up(wanted, folder, said, check=check, shorten=shorten)
    return said


def as_who(server: InfluxServer, token: str, flux: str) -> int:
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/vnd.flux"}
    return server.ask("POST", f"/api/v2/query?org={ORG}", flux, headers)[0]


def writes(server: InfluxServer, token: str, bucket: str) -> int:
    path = f"/api/v2/write?org={ORG}&bucket={bucket}"
    return server.ask("POST", path, "a b=1", {"Authorization": f"Token {token}"})[0]


def test_a_new_server_has_all_after_one_run_and_a_second_one_changes_nothing(
    unused: InfluxServer, folder: Path
) -> None:
    wanted = settings(unused.url)
    assert len(done(wanted, folder, check=True)) == 1
    assert not folder.exists()
    said = done(wanted, folder)
    assert done(wanted, folder) == done(wanted, folder, check=True) == []
    files = {path.name: path for path in folder.iterdir()}
    assert set(files) == {ADMIN, PASSWORD, EXPORTER, READER}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in files.values():
        assert not any(path.read_text().strip() in sentence for sentence in said)
    token = {"Authorization": f"Token {files[ADMIN].read_text().strip()}"}
    _, buckets = unused.ask("GET", "/api/v2/buckets", None, token)
    for name in (b'"corechain"', b'"corechain_1m"', b'"corechain_1h"', b'"corechain_1d"'):
        assert name in buckets


def test_tokens_can_do_what_they_are_for_and_no_more(used: InfluxServer, folder: Path) -> None:
    with_admin(folder, TOKEN)
    used.create_bucket("others")
    done(settings(used.url), folder, shorten=True)
    exporter = (folder / EXPORTER).read_text().strip()
    reader = (folder / READER).read_text().strip()
    for bucket in ("corechain", "corechain_1m", "corechain_1h", "corechain_1d"):
        query = f'from(bucket: "{bucket}") |> range(start: -1h)'
        assert writes(used, exporter, bucket) == 204
        assert as_who(used, exporter, query) == as_who(used, reader, query) == 200
        assert writes(used, reader, bucket) == 403
    for token in (exporter, reader):
        assert writes(used, token, "others") in (403, 404)
        query = 'from(bucket: "others") |> range(start: -1h)'
        assert as_who(used, token, query) in (403, 404)


def test_what_others_changed_is_named_by_check_and_set_right(
    used: InfluxServer, folder: Path
) -> None:
    with_admin(folder, TOKEN)
    wanted = settings(used.url)
    done(wanted, folder, shorten=True)
    tasks = {task["name"]: task for task in used.told("GET", "/api/v2/tasks")["tasks"]}
    minutes = tasks["corechain corechain_1m"]
    used.told("PATCH", f"/api/v2/tasks/{minutes['id']}", {"status": "inactive"})
    used.told("DELETE", f"/api/v2/tasks/{tasks['corechain corechain_1d']['id']}")
    used.delete_bucket("corechain_1h")
    (folder / READER).unlink()
    said = done(wanted, folder, check=True)
    for what in ("corechain_1m", "corechain_1d", "corechain_1h", "reader-token"):
        assert any(what in sentence for sentence in said), what
    assert done(wanted, folder, check=True) == said
    done(wanted, folder)
    assert done(wanted, folder, check=True) == []


def test_retention_is_not_shortened_by_accident(used: InfluxServer, folder: Path) -> None:
    with_admin(folder, TOKEN)
    with pytest.raises(RetentionShortened, match="kept for ever, and would be kept for 30 days"):
        done(settings(used.url), folder)
    assert any("kept for ever" in said for said in done(settings(used.url), folder, check=True))
    done(settings(used.url), folder, shorten=True)
    longer = settings(used.url, influx_keep_days="60,0,0,0")
    assert len(done(longer, folder)) == 2
    assert done(longer, folder, check=True) == []


def test_two_servers_have_a_token_each_in_one_file(
    used: InfluxServer, unused: InfluxServer, folder: Path
) -> None:
    with_admin(folder, TOKEN)
    wanted = settings(used.url, unused.url)
    said = done(wanted, folder, shorten=True)
    assert {sentence[:10] for sentence in said} == {"InfluxDB 1", "InfluxDB 2"}
    first, second = (folder / EXPORTER).read_text().strip().split(",")
    assert writes(used, first, "corechain") == writes(unused, second, "corechain") == 204
    assert done(wanted, folder, check=True) == []


def test_what_hinders_it_is_named_with_what_to_do(used: InfluxServer, folder: Path) -> None:
    wanted = settings(used.url)
    with pytest.raises(AdminTokenMissing, match=r"no operator token in .*admin-token"):
        done(wanted, folder)
    with_admin(folder, "another")
    with pytest.raises(AdminTokenRefused, match="401"):
        done(wanted, folder)
    with pytest.raises(SeriesUnavailable):
        done(settings("http://127.0.0.1:9"), folder)
    with OddProxy(used.port) as proxy:
        proxy.rule = lambda asked: Odd(404, b"<html>nothing here")
        with pytest.raises(NoInfluxDB, match="without a path"):
            done(settings(proxy.url), folder)


def test_the_command_says_what_it_did_and_never_a_token(
    used: InfluxServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_admin(folder, TOKEN)
    for name, value in {
        "RPC_URL": "http://127.0.0.1:1", "DEPLOYMENT": "not-deployed-yet.json",
        "DATABASE_URL": "postgresql://127.0.0.1/none", "REDIS_URL": "redis://127.0.0.1/0",
        "DATA_URLS": "http://127.0.0.1/{commitment}", "INFLUX_URL": used.url,
        "INFLUX_DOWNSAMPLES": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"INDEXER_{name}", value)
    words = ["influx", "setup", "--secrets", str(folder)]
    runner = CliRunner()
    assert runner.invoke(commands, [*words, "--check"]).exit_code == 1
    first = runner.invoke(commands, words)
    assert first.exit_code == 0
    assert "made it" in first.output
    assert (folder / EXPORTER).read_text().strip() not in first.output
    again = runner.invoke(commands, [*words, "--check"])
    assert (again.exit_code, again.output.strip()) == (0, "all is as the settings say")
    (folder / ADMIN).write_text("another")
    assert (
        "error: InfluxDB 1: InfluxDB refuses the operator token"
        in runner.invoke(commands, words).output
    )
