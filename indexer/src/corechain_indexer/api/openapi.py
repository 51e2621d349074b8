"""The OpenAPI document, made from the same types that encode the answers."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from corechain_indexer.api import schemas, stream_paths
from corechain_indexer.api.media.formats import Format
from corechain_indexer.api.routes import Endpoint

REF = "#/components/schemas/{name}"
_INTEGER: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_ADDRESS: Mapping[str, Any] = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
_TEXT: Mapping[str, Any] = {"type": "string"}
PARAMETERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "limit": ("items of a page", {"type": "integer", "minimum": 1, "maximum": 1000}),
    "cursor": ("where the page before ended", {"type": "string"}),
    "after": ("only batches with greater ids", _INTEGER),
    "state": ("state of the data file", {"enum": ["pending", "withheld", "mismatch", "verified"]}),
    "device": ("device id", _ADDRESS),
    "payer": ("payer of the channel", _ADDRESS),
    "party": ("one of the two parties of the channel", _ADDRESS),
    "metric": ("name or code of the vocabulary", {"type": "string"}),
    "cell": (
        "H3 index, hexadecimal; without a device up to 64 of them, with commas between: all of"
        " `resolution` that lie in one",
        {"type": "string", "pattern": "^[0-9a-f]{15,16}(,[0-9a-f]{15,16})*$"},
    ),
    "resolution": (
        "of the cells that readings of a region have; 7 unless said otherwise",
        {"type": "integer", "minimum": 0, "maximum": 15},
    ),
    "from": ("observed not before, seconds", _INTEGER),
    "to": ("observed not after, seconds", _INTEGER),
    "first_batch": (
        "with last_batch: every batch between them, those without readings too",
        _INTEGER,
    ),
    "last_batch": ("with first_batch, of the same lane: the last batch of the answer", _INTEGER),
    "order": ("which batches come first", {"enum": ["oldest", "newest"]}),
    "since_block": ("only batches committed in this block or later", _INTEGER),
    "proofs": ("with what proves the items", {"type": "boolean"}),
    "bucket": (
        "seconds of a bucket: whole hours, or whole minutes within a week",
        _INTEGER,
    ),
    "finality": (
        "only what is at least so sure, as the node says",
        {"enum": ["pending", "safe", "finalised"]},
    ),
    "as_of": ("as it was known at the end of this block", _INTEGER),
    "min_block": ("answer once this block is mirrored; 409 when it takes too long", _INTEGER),
    "after_tx": (
        "answer once the block of this transaction is mirrored; 409 when it takes too long",
        {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"},
    ),
    "format": (
        "form of the answer; goes before the header Accept",
        {"enum": [form.value for form in Format]},
    ),
    "id": ("batch or channel id", {"type": "string"}),
    "position": ("position of the reading in its batch", _INTEGER),
    "owner": ("address that is paid", _ADDRESS),
    "resource": (
        "a set, an entity, or what it has: `Things`, `Things('0x…')/Datastreams`",
        {"type": "string", "minLength": 1},
    ),
    "$top": ("entities of a page, 1,000 at the most", _INTEGER),
    "$skip": ("entities to leave out; rather follow `@iot.nextLink`", _INTEGER),
    "$count": ("with how many there are", {"type": "boolean"}),
    "$orderby": ("`phenomenonTime desc` of a datastream's readings; else by id", _TEXT),
    "$select": ("only these properties and links", _TEXT),
    "$expand": ("with what these links lead to, options in parentheses", _TEXT),
    "$filter": ("comparisons with and, or, not; text and area functions", _TEXT),
    "$skiptoken": ("where the page before ended", _TEXT),
    "$resultFormat": ("readings as rows of a table", {"enum": ["dataArray"]}),
}


def _parameter(name: str, place: str, *, required: bool) -> dict[str, Any]:
    text, schema = PARAMETERS[name]
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": text,
        "schema": dict(schema),
    }


def _answer(schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": dict(schema)}}}


def _operation(endpoint: Endpoint, schema: Mapping[str, Any]) -> dict[str, Any]:
    problem = {
        "description": "problem details (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}},
    }
    answer = _answer(schema, endpoint.summary)
    others = (form for form in endpoint.formats if form is not Format.JSON)
    answer["content"] |= {form.media_type: {} for form in others}
    responses = {"200": answer, "4XX": problem, "503": problem}
    if endpoint.paid:
        responses["402"] = problem
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [
            *(_parameter(name, "path", required=True) for name in endpoint.path_parameters),
            *(
                _parameter(name, "query", required=name in endpoint.required)
                for name in endpoint.parameters
            ),
        ],
        "responses": responses,
    }


def document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    listed = list(endpoints)
    types = [*(endpoint.answer for endpoint in listed), schemas.Problem, stream_paths.EVENT]
    found, components = msgspec.json.schema_components(types, ref_template=REF)
    paths = {
        endpoint.path: {"get": _operation(endpoint, schema)}
        for endpoint, schema in zip(listed, found, strict=False)
    }
    paths |= {path: {"get": item} for path, item in stream_paths.operations(REF)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "CoreChain query API", "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }
