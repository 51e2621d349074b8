"""CoreChain's hot paths in C. Each function agrees with its reference in `corechain`.

All of them release the interpreter lock while they work. With CORECHAIN_NATIVE=0 in the environment
the package cannot be imported, as if it were not installed.
"""

import os

if os.environ.get("CORECHAIN_NATIVE") == "0":
    raise ImportError("corechain-native is switched off by CORECHAIN_NATIVE=0")

from corechain_native.columns import columns, content_digests, reports_size
from corechain_native.hashing import keccak256
from corechain_native.logs import read_logs
from corechain_native.pages import page_json
from corechain_native.ranges import range_edges, range_proof
from corechain_native.reports_json import pack_json, vocabulary
from corechain_native.sending import send_each
from corechain_native.trees import (
    hash26_rows,
    hash26_slices,
    merkle_paths,
    merkle_root,
    statistics_root,
)
from corechain_native.verifying import (
    INVALID,
    LEARNED,
    UNJUDGED,
    UNKNOWN_KEY,
    VALID,
    verify_frame,
)

__all__ = [
    "INVALID",
    "LEARNED",
    "UNJUDGED",
    "UNKNOWN_KEY",
    "VALID",
    "columns",
    "content_digests",
    "hash26_rows",
    "hash26_slices",
    "keccak256",
    "merkle_paths",
    "merkle_root",
    "pack_json",
    "page_json",
    "range_edges",
    "range_proof",
    "read_logs",
    "reports_size",
    "send_each",
    "statistics_root",
    "verify_frame",
    "vocabulary",
]
