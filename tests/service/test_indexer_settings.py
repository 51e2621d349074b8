"""What the settings of an indexer refuse says what to write instead, and shows no value."""

import pytest

from corechain.service.settings import InvalidSetting, load
from corechain_indexer.settings import Settings

GOOD = {
    "INDEXER_RPC_URL": "http://node:8545",
    "INDEXER_DEPLOYMENT": "31337.json",
    "INDEXER_DATABASE_URL": "postgresql://user:hunter2@pg/index",
    "INDEXER_REDIS_URL": "redis://cache/0",
    "INDEXER_DATA_URLS": "http://data/{commitment}",
}
A, B = "postgresql://user:hunter2@h1,h2/a", "postgres://user:hunter2@h3/b"
SPACES = "INDEXER_SHARD_URLS: its URLs are separated by spaces"
WRONG = {
    "shards with a comma": ({"INDEXER_SHARD_URLS": f"{A},{B}"}, SPACES),
    "shards with a comma and a space": ({"INDEXER_SHARD_URLS": f"{A}, {B}"}, SPACES),
    "shards with a semicolon": ({"INDEXER_SHARD_URLS": f"{A};{B}"}, SPACES),
    "three shards": (
        {"INDEXER_SHARD_URLS": f"{A} {B} {B}c"},
        "INDEXER_SHARD_URLS: names 3 databases, not a power of two",
    ),
    "a key that nobody is paid at": (
        {"INDEXER_PAYEE_KEY": "f" * 64},
        "INDEXER_PAYEE_KEY: is not a private key of secp256k1",
    ),
    "a facilitator nowhere": (
        {"INDEXER_FACILITATOR_URL": "https://"},
        "INDEXER_FACILITATOR_URL: is a URL without a host",
    ),
    "data nowhere": (
        {"INDEXER_DATA_URLS": "http:///{commitment}"},
        "INDEXER_DATA_URLS: a template is a URL without a host",
    ),
    "replicas in a list": (
        {"INDEXER_REPLICA_URL": f"{A},{B}"},
        "INDEXER_REPLICA_URL: names more than one URL",
    ),
    "addresses that are none": (
        {"INDEXER_ALERT_PARTIES": "hunter2"},
        "INDEXER_ALERT_PARTIES: is none of what it takes: whose state channels are watched",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_what_is_refused_says_what_to_write(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load(Settings, GOOD | changes)
    assert str(refused.value).startswith(sentence)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("urls", [A, f"{A} {B}", f" {A}\n{B} "])
def test_one_shard_or_more_are_taken_each_with_several_hosts(urls: str) -> None:
    settings = load(Settings, GOOD | {"INDEXER_SHARD_URLS": urls})
    assert settings.shards == urls.split()
