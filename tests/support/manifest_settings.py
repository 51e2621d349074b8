"""The environment that a container of deploy/kustomize gives to our settings."""

import stat
from pathlib import Path
from typing import Any

from corechain_indexer.settings import Settings as IndexerSettings
from corechain_relayer.bridge.settings import Settings as BridgeSettings
from corechain_relayer.challenger.settings import ChallengerSettings
from corechain_relayer.settings import Settings as RelayerSettings
from support.manifests import Site, Workload

SETTINGS: dict[str, Any] = {
    "relayer": RelayerSettings,
    "indexer": IndexerSettings,
    "bridge": BridgeSettings,
    "challenger": ChallengerSettings,
}
"""By the first word of the command."""
KEY = "11" * 32
# What the secrets may hold, by the setting that takes it.
SECRETS = {
    "RPC_URL": "https://node.example",
    "BUS_URL": "kafka://kafka-bootstrap.kafka:9092/corechain",
    "DATABASE_URL": "postgresql://relayer:secret@postgres/relayer",
    "REDIS_URL": "redis://redis/0",
    "MQTT_URL": "mqtts://relayer@broker:8883",
    "MQTT_PASSWORD": "secret",
}


def environment_of(site: Site, one: Workload, folder: Path) -> dict[str, str]:
    """What the container's process would find, with files where secrets are mounted."""
    found: dict[str, str] = {}
    for source in one.container.get("envFrom", ()):
        found |= site.named("ConfigMap", source["configMapRef"]["name"])["data"]
    for entry in one.container.get("env", ()):
        if "value" in entry:
            found[entry["name"]] = entry["value"]
        else:
            found[entry["name"]] = "0"  # of the pod: its name or its ordinal
    for name in [name for name in found if name.endswith("_FILE")]:
        file = folder / name
        file.write_text(SECRETS.get(name.removeprefix(one.prefix).removesuffix("_FILE"), KEY))
        # As it is mounted: a secret that every user can read is refused.
        file.chmod(_mode_of(one, found[name]) | stat.S_IWUSR)
        found[name] = str(file)
    return found


def _mode_of(one: Workload, path: str) -> int:
    """Of a file in a volume of a secret; Kubernetes' own is 0644."""
    mounts = [m for m in one.container["volumeMounts"] if path.startswith(m["mountPath"])]
    assert mounts, f"{path} is not mounted"
    (volume,) = [v for v in one.pod["volumes"] if v["name"] == mounts[0]["name"]]
    return int(volume["secret"].get("defaultMode", 0o644))
