"""A service that ends for a setting that it finds missing says that, and nothing of Python's.

given a relayer without the key of its submitter
given an indexer with receivers of alerts and no key to sign them
given an indexer that is to be paid and has no key for it
  when it is started, whatever else is away
    it exits with 2, and its last line names the setting
    stderr has no warning of Python
"""

import os
import subprocess
from pathlib import Path

import pytest
from support.command import COMMAND
from support.processes import PATIENCE_S

NOWHERE = "postgresql://user@127.0.0.1:1/nowhere"
RELAYER = {
    "RELAYER_RPC_URL": "http://127.0.0.1:1",
    "RELAYER_BUS_URL": "redis://127.0.0.1:1/0",
    "RELAYER_DATABASE_URL": NOWHERE,
    "RELAYER_HTTP_PORT": "0",
}
INDEXER = {
    "INDEXER_RPC_URL": "http://127.0.0.1:1",
    "INDEXER_REDIS_URL": "redis://127.0.0.1:1/0",
    "INDEXER_DATABASE_URL": NOWHERE,
    "INDEXER_DATA_URLS": "http://127.0.0.1:1/{commitment}",
    "INDEXER_HTTP_PORT": "0",
}
CASES = {
    "no submitter": ("relayer", RELAYER, "RELAYER_SUBMITTER_KEY is not set"),
    "alerts": (
        "indexer",
        INDEXER | {"INDEXER_ALERT_URLS": "http://127.0.0.1:1/"},
        "INDEXER_ALERT_SECRET is not set, but INDEXER_ALERT_URLS is",
    ),
    "payments": (
        "indexer",
        INDEXER | {"INDEXER_PRICE_PER_QUERY": "1"},
        "INDEXER_PAYEE_KEY is not set, but queries cost something",
    ),
}


@pytest.mark.parametrize(("service", "settings", "sentence"), CASES.values(), ids=CASES.keys())
def test_a_missing_setting_is_all_that_is_said(
    deployment: Path, tmp_path: Path, service: str, settings: dict[str, str], sentence: str
) -> None:
    places = {"RELAYER_DATA_DIR": str(tmp_path), "RELAYER_DEPLOYMENT": str(deployment)}
    places["INDEXER_DEPLOYMENT"] = str(deployment)
    ours = {name: value for name, value in places.items() if name.startswith(service.upper())}
    done = subprocess.run(
        [*COMMAND, service, "run"],
        env=os.environ | settings | ours,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == f"error: {sentence}"
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
