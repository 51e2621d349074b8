"""The API server asked over HTTP, as a kubelet does it: kubectl costs 0.1 s of CPU each time."""

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from corechain.devnet.process import LOCALHOST
from support.control_plane import TOKEN
from support.processes import PATIENCE_S

MERGE = "application/merge-patch+json"
Object = dict[str, Any]


class Refused(Exception):
    """What the API server said against it. `status` of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text[:500]}")
        self.status = status


class KubeApi:
    """Objects of one namespace. Raises Refused, OSError."""

    def __init__(self, port: int, namespace: str) -> None:
        self._port, self._namespace = port, namespace
        self._tls = ssl.create_default_context()
        # As the kubeconfig of the tests: the API server signs for itself.
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    def items(self, plural: str, group: str = "", labels: str = "") -> list[Object]:
        path = f"{self._path(plural, group)}?labelSelector={quote(labels)}"
        return list(self._asked("GET", path)["items"])

    def get(self, plural: str, name: str) -> Object:
        return self._asked("GET", f"{self._path(plural)}/{name}")

    def patch_status(self, plural: str, name: str, status: Mapping[str, Any]) -> None:
        path = f"{self._path(plural)}/{name}/status"
        self._asked("PATCH", path, {"status": dict(status)}, MERGE)

    def remove(self, plural: str, name: str, uid: str) -> None:
        """At once, and only this one: a StatefulSet's next pod has the same name."""
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        self._asked("DELETE", f"{self._path(plural)}/{name}", options)

    def _path(self, plural: str, group: str = "") -> str:
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self._namespace}/{plural}"

    def _asked(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        connection = http.client.HTTPSConnection(
            LOCALHOST, self._port, timeout=PATIENCE_S, context=self._tls
        )
        fields = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        try:
            connection.request(method, path, json.dumps(body) if body else None, fields)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise Refused(answer.status, text)
        found: Object = json.loads(text)
        return found
