"""The commands of the bridge where something is missing: one sentence, an exit code, no traces."""

import json

import pytest
from support.command import corechain

from corechain.service.settings import InvalidSetting
from corechain_relayer.bridge.service import only_one
from corechain_relayer.bridge.settings import Settings

ADD = ("bridge", "station", "add", "roof", "--format", "ecowitt", "--cell", "872a1072bffffff")


@pytest.fixture
def settings(tmp_path):
    entry = {"address": "0x" + "07" * 20, "block": 1}
    names = ("DeviceRegistry", "DataBatches", "CoreToken", "PaymentChannels", "StateChannels")
    manifest = {"chain_id": 31337, "contracts": dict.fromkeys(names, entry)}
    (tmp_path / "31337.json").write_text(json.dumps(manifest))
    return {
        "BRIDGE_GATEWAY_URL": "http://127.0.0.1:9",
        "BRIDGE_DEPLOYMENT": str(tmp_path / "31337.json"),
        "BRIDGE_DATA_DIR": str(tmp_path / "data"),
    }


def test_a_station_is_not_added_where_it_could_not_be_registered(settings, tmp_path):
    done = corechain(*ADD, changes=settings)
    assert done.returncode == 2
    assert "BRIDGE_REGISTRAR_KEY" in done.stderr
    assert not (tmp_path / "data" / "keys").exists()


def test_a_station_can_be_added_without_a_registration(settings):
    done = corechain(*ADD, "--no-register", changes=settings)
    assert done.returncode == 0, done.stderr
    added = json.loads(done.stdout)
    assert added["path"] == f"/ecowitt/{added['token']}"
    assert added["device"].startswith("0xb51d")
    (listed,) = json.loads(corechain("bridge", "station", "list", changes=settings).stdout)
    assert (listed["newest_observation"], listed["waiting_reports"]) == (None, 0)


def test_one_sentence_for_a_file_that_is_not_there(settings, tmp_path):
    missing = tmp_path / "winter.csv"
    done = corechain("bridge", "import", missing, "--station", "roof", changes=settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1


def test_a_second_bridge_on_one_folder_is_refused(tmp_path):
    settings = Settings(
        gateway_url="http://127.0.0.1:9", deployment=tmp_path, data_dir=tmp_path / "data"
    )
    with only_one(settings), pytest.raises(InvalidSetting):
        only_one(settings).__enter__()
    with only_one(settings):
        assert (tmp_path / "data" / "lock").exists()
