"""What a process sees of its pod: environment and files, from the objects that the pod names.

A process of this machine has no mounts of its own: values of the environment that are paths of a
mount become paths of the folder that stands for it. Source: Kubernetes, "Pod", v1: `envFrom`,
`env`, `volumes`, `volumeMounts`.
"""

import base64
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.kube_api import KubeApi, Object

EVERY_ADDRESS = "0.0.0.0"
_LABEL = re.compile(r"metadata\.labels\['(.+)'\]$")
_VARIABLE = re.compile(r"\$\((\w+)\)")


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """$(NAME) becomes its value."""
    return _VARIABLE.sub(lambda found: environment.get(found[1], found[0]), text)


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod with one container. `address` is where its ports are on this machine, `claims` the
    folders of its disks."""

    pod: Object
    api: KubeApi
    folder: Path
    address: str
    claims: Mapping[str, Path]

    @property
    def container(self) -> Object:
        (only,) = self.pod["spec"]["containers"]
        return dict(only)

    @property
    def service(self) -> str:
        return str(self.pod["metadata"]["labels"].get("app.kubernetes.io/name", ""))

    def port(self, name: str) -> int:
        """Raises KeyError for one that it has not."""
        return {one["name"]: int(one["containerPort"]) for one in self.container["ports"]}[name]

    def environment(self) -> dict[str, str]:
        """Raises Refused for a ConfigMap or Secret that is not there, as a kubelet waits for it."""
        found = dict(self._from_maps())
        for variable in self.container.get("env", ()):
            found[variable["name"]] = self._value(variable, found)
        mounts = self._mounts(found)
        placed = {name: _placed(value, mounts) for name, value in found.items()}
        return {
            name: self.address if value == EVERY_ADDRESS else value
            for name, value in placed.items()
        }

    def _from_maps(self) -> Iterator[tuple[str, str]]:
        for source in self.container.get("envFrom", ()):
            name = source["configMapRef"]["name"]
            yield from self.api.get("configmaps", name)["data"].items()

    def _value(self, variable: Object, known: Mapping[str, str]) -> str:
        if "valueFrom" not in variable:
            return expanded(variable.get("value", ""), known)
        ((kind, asked),) = variable["valueFrom"].items()
        if kind == "secretKeyRef":
            return self._secret(asked["name"])[asked["key"]].decode()
        assert kind == "fieldRef", kind
        return self._field(asked["fieldPath"])

    def _field(self, path: str) -> str:
        label = _LABEL.match(path)
        if label:
            return str(self.pod["metadata"]["labels"][label[1]])
        assert path == "metadata.name", path
        return str(self.pod["metadata"]["name"])

    def _secret(self, name: str) -> dict[str, bytes]:
        data = self.api.get("secrets", name)["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}

    def _mounts(self, environment: Mapping[str, str]) -> dict[str, Path]:
        """Folders or files by the path at which the container would find them."""
        volumes = {one["name"]: self._volume(one) for one in self.pod["spec"]["volumes"]}
        found = {}
        for mount in self.container["volumeMounts"]:
            inside = expanded(mount.get("subPathExpr", mount.get("subPath", "")), environment)
            found[mount["mountPath"]] = volumes[mount["name"]] / inside
        return found

    def _volume(self, volume: Object) -> Path:
        name = volume["name"]
        if "persistentVolumeClaim" in volume:
            return self.claims[volume["persistentVolumeClaim"]["claimName"]]
        folder = self.folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        # A secret that all users can read is refused; writable, since the next start writes anew.
        mode = volume.get("secret", {}).get("defaultMode", 0o644) | stat.S_IWUSR
        for file, content in self._files(volume).items():
            (folder / file).write_bytes(content)
            (folder / file).chmod(mode)
        return folder

    def _files(self, volume: Object) -> dict[str, bytes]:
        if "secret" in volume:
            return self._secret(volume["secret"]["secretName"])
        if "configMap" in volume:
            data = self.api.get("configmaps", volume["configMap"]["name"])["data"]
            return {name: text.encode() for name, text in data.items()}
        assert "emptyDir" in volume, volume
        return {}


def _placed(value: str, mounts: Mapping[str, Path]) -> str:
    """The longest mount wins: /run/secrets/corechain/frame lies in no /run."""
    for path in sorted(mounts, key=len, reverse=True):
        if value == path or value.startswith(f"{path}/"):
            return str(mounts[path]) + value.removeprefix(path)
    return value


def probe_port(container: Object, probe: Object) -> int:
    """The number of the port that a probe names."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    return int(ports[probe["httpGet"]["port"]])
