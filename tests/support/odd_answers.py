"""Honest answers of gateway and query API as JSON, and any JSON in their place."""

from hypothesis import strategies as st

from corechain import flows
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.rewards import Owner, RewardTree
from corechain.protocol.statistics import locate
from corechain.protocol.vocabulary import metric
from corechain.steps import Request
from support.batches import CELL, KEYS, START, HonestApi, days_of_readings, hexed

BATCHES = days_of_readings(2)
BATCH, DEVICE, TEMPERATURE = BATCHES[0], KEYS[0].identity.device, metric("air_temperature")
QUESTION = flows.Question(TEMPERATURE, DEVICE, CELL, START, START + 3600)
REPORT = SignedReport(Report.of(DEVICE, 7, [Observation(1, CELL, START, 5)]), bytes(64))
OWNER = Owner(DEVICE)
TREE = RewardTree({OWNER: 10**18, Owner(bytes(19) + b"\x01"): 5})
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**300), 2**300)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.binary(max_size=40).map(hexed),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def header_json(batch):
    header = batch.header
    numbers = ("reading_count", "report_count", "window_start", "window_end", "batch_id")
    hashes = ("previous", "ancestor", "statistics_root", "reports_root", "data_hash", "rules_hash")
    return {name: getattr(header, name) for name in numbers} | {
        name: hexed(getattr(header, name)) for name in hashes
    }


def statistics_json():
    bounds = QUESTION.bounds()
    start, end = locate(BATCH.leaves, bounds.low, bounds.high)
    proof = BATCH.statistics().range_proof(start, end)
    values = [int.from_bytes(leaf[35:39], "big", signed=True) for leaf in BATCH.leaves[start:end]]
    found = {"count": len(values), "sum": sum(values), "min": min(values), "max": max(values)}
    part = {
        "header": header_json(BATCH),
        "readings_root": hexed(BATCH.readings.root),
        "low": hexed(bounds.low),
        "high": hexed(bounds.high),
        "from": start,
        "to": end,
        "leaves": [hexed(leaf) for leaf in proof.leaves],
        "nodes": [hexed(node.pack()) for node in proof.nodes],
    }
    return {**found, "parts": [part | found], "skipped": []}


def proof_json():
    return {
        "leaf": hexed(BATCH.leaves[3]),
        "position": 3,
        "proof": [hexed(node) for node in BATCH.readings.proof(3)],
        "rest_hash": hexed(BATCH.header.rest_hash),
    }


def claim_json():
    claim = TREE.claim(OWNER)
    return {
        "owner": hexed(OWNER),
        "cumulative": str(claim.cumulative),
        "position": claim.position,
        "proof": [hexed(node) for node in claim.proof],
    }


def readings_json():
    request = Request(
        flows.API, "GET", "/v1/readings", {"device": hexed(DEVICE), "limit": 9, "proofs": "true"}
    )
    return HonestApi(BATCHES)(request)
