"""What `corechain indexer influx setup` reads and writes, without a server.

given nothing but INDEXER_INFLUX_*
  └── it needs no more, leaves the other settings alone, and refuses names that are none
given tokens of several servers in a file
  ├── each place is a server's: an empty one is named, and never taken for another server's
  └── those of servers that are not named are never dropped
"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from corechain.devnet.process import free_port
from corechain.service.settings import InvalidSetting, load
from corechain_indexer.commands import commands
from corechain_indexer.influx_settings import SetupSettings
from corechain_indexer.influx_setup import ADMIN, EXPORTER, SecretFiles, set_up
from corechain_indexer.settings import Settings

TWO = "http://h1:8086,http://h2:8086"
GOOD = {
    "INDEXER_RPC_URL": "http://node:8545",
    "INDEXER_DEPLOYMENT": "31337.json",
    "INDEXER_DATABASE_URL": "postgresql://user@pg/index",
    "INDEXER_REDIS_URL": "redis://cache/0",
    "INDEXER_DATA_URLS": "http://data/{commitment}",
    "INDEXER_INFLUX_URL": TWO,
}


def test_the_command_needs_the_settings_of_influxdb_alone(tmp_path: Path) -> None:
    environment = {
        "INDEXER_INFLUX_URL": f"http://127.0.0.1:{free_port()}",
        # Of the mirror, that is to come: it has no file yet.
        "INDEXER_INFLUX_TOKEN_FILE": str(tmp_path / "secrets" / EXPORTER),
    }
    words = ["influx", "setup", "--secrets", str(tmp_path / "secrets")]
    done = CliRunner(env=environment).invoke(commands, words)
    assert done.exit_code == 1
    assert done.output.startswith("error: InfluxDB 1: ")


def test_what_is_no_setting_of_the_indexer_is_none_of_the_command() -> None:
    assert load(SetupSettings, GOOD, among=Settings).influx_urls == TWO.split(",")
    with pytest.raises(InvalidSetting, match="INDEXER_INFLUX_BUKET is not a setting"):
        load(SetupSettings, GOOD | {"INDEXER_INFLUX_BUKET": "x"}, among=Settings)


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        ("one,", "INDEXER_INFLUX_TOKEN: has no token of InfluxDB 2: `corechain indexer influx"),
        (",two", "INDEXER_INFLUX_TOKEN: has no token of InfluxDB 1"),
        ("one,two,three", "INDEXER_INFLUX_TOKEN: takes one token, or one for each URL"),
    ],
)
def test_a_token_that_is_missing_is_named(tokens: str, sentence: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load(Settings, GOOD | {"INDEXER_INFLUX_TOKEN": tokens})
    assert str(refused.value).startswith(sentence)


def test_secrets_of_servers_that_are_not_named_stay(tmp_path: Path) -> None:
    both = SecretFiles(tmp_path, 2)
    both.write(EXPORTER, 0, "first")
    assert both.read(EXPORTER) == ["first", ""]
    both.write(EXPORTER, 1, "second")
    one = load(Settings, GOOD | {"INDEXER_INFLUX_URL": "http://h2:8086"})
    with pytest.raises(InvalidSetting, match="exporter-token is of 2 servers, and INDEXER_INFLUX"):
        set_up(one, tmp_path, [])
    SecretFiles(tmp_path, 1).write(EXPORTER, 0, "another")
    assert both.read(EXPORTER) == ["another", "second"]
    assert both.read(ADMIN) == ["", ""]
