"""How the pods of kwok's nodes live: ready at once, jobs complete, and an end that takes a while.

Source: kwok's "Stages" API, v1alpha1.
"""

from collections.abc import Sequence
from typing import Any


def _stage(name: str, conditions: Sequence[Any], then: Any, delay_ms: int = 0) -> dict[str, Any]:
    """A step in the life of kwok's pods, taken where all of (key, operator, values) hold."""
    expressions = [
        {"key": key, "operator": operator} | ({"values": list(values)} if values else {})
        for key, operator, *values in conditions
    ]
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": {"matchExpressions": expressions},
        "next": then,
    }
    delay = {"delay": {"durationMilliseconds": delay_ms}} if delay_ms else {}
    head = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}}
    return {**head, "spec": {**spec, **delay}}


END_MS = 2_000
"""How long a pod takes to end. kwok's own pods are gone at once: then a StatefulSet's successor,
which has the same name, is there before the disruption controller has seen that the first one ends.
It takes the successor for the evicted pod, which does not end, and grants no other eviction for
2 minutes (DeletionTimeout). No kubelet is so fast."""
LIVES = (".metadata.deletionTimestamp", "DoesNotExist")
READY = """
conditions:
{{ range $type := (list "Initialized" "ContainersReady" "Ready") }}
- {type: {{ $type }}, status: "True", lastTransitionTime: {{ Now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  restartCount: 0
  state: {running: {startedAt: {{ Now | Quote }}}}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
phase: Running
startTime: {{ Now | Quote }}
"""
POD_STAGES = (
    _stage("ready", [LIVES, (".status.podIP", "DoesNotExist")], {"statusTemplate": READY}),
    _stage(
        "complete",
        [
            LIVES,
            (".status.phase", "In", "Running"),
            (".metadata.ownerReferences.[].kind", "In", "Job"),
        ],
        {"statusTemplate": "phase: Succeeded"},
    ),
    _stage(
        "end",
        [(".metadata.deletionTimestamp", "Exists")],
        {"finalizers": {"empty": True}, "delete": True},
        END_MS,
    ),
)
NO_STAGES = (_stage("never", [(".spec.nodeName", "In", "nowhere")], {"delete": True}),)
"""For pods that somebody else looks after: without a stage kwok would take its own."""
