"""Requests to the servers of a test: patient, and each on a connection of its own."""

import httpx

from support.processes import PATIENCE_S

# `httpx.get` would read the authorities of the web for each question: 35 ms of CPU instead of 3,
# which a test that asks until something is so takes from all others. Connections are not kept: a
# server that was killed would fail the next question instead of refusing it.
HTTP = httpx.Client(
    timeout=PATIENCE_S,
    verify=False,
    trust_env=False,
    limits=httpx.Limits(max_keepalive_connections=0),
)
