"""Writes the query API's OpenAPI document to web/verify/openapi.json, only when it is another.

TypeScript's types of the API are made from it (`make web-types`); the package ships both.
"""

import json
from pathlib import Path

from corechain_indexer.api.app import VERSION
from corechain_indexer.api.openapi import document
from corechain_indexer.api.routes import ENDPOINTS

PLACE = Path(__file__).resolve().parent.parent / "web" / "verify" / "openapi.json"


def current() -> str:
    return json.dumps(document(ENDPOINTS, VERSION), indent=1) + "\n"


def main() -> int:
    text = current()
    if not PLACE.exists() or PLACE.read_text() != text:
        PLACE.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
