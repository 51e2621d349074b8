"""Whatever a reader of our OpenAPI document sends, our answers are what the document says.

Schemathesis makes the requests: values that fit the document's types, and values that do not. They
go over a socket, by the same two ways as anybody's.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis import checks as named
from support.processes import PATIENCE_S

from corechain.service.http_server import bind, http_server
from corechain_indexer.api.direct import DirectQueries
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.api.stream_paths import TAG
from indexer.support import CELL, Driven, World, device_of

EXAMPLES = 3
CHECKS = (
    named.not_a_server_error,
    named.status_code_conformance,
    named.content_type_conformance,
    named.response_headers_conformance,
    named.response_schema_conformance,
)


@asynccontextmanager
async def serving(indexer: Driven) -> AsyncIterator[str]:
    api = indexer.indexer.api()
    listener = bind("X_", "127.0.0.1", 0)
    server = http_server(api.app(queries=True), 100, 75, DirectQueries(api))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.until_started()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest_asyncio.fixture
async def url(world: World, indexer: Driven) -> AsyncIterator[str]:
    world.add(hours=3)
    await indexer.settle()
    async with serving(indexer) as address:
        yield address


def known(world: World) -> dict[str, str]:
    """Values that are there: a random address would never be a device."""
    return {
        "device": device_of(world),
        "id": "1",
        "position": "0",
        "metric": "pressure",
        "cell": f"{CELL:015x}",
        "resource": "Things",
    }


async def test_every_answer_is_what_the_document_says(url: str, world: World) -> None:
    answers = await asyncio.to_thread(conform, url, known(world))
    assert answers[200] >= len(ENDPOINTS)
    assert answers[400] >= len(ENDPOINTS)


def conform(url: str, values: dict[str, str]) -> Counter[int]:
    """Answers by status. Each well-formed request is sent again with values that are there, and
    without those that ask for the future."""
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    # Streams never end: test_stream_document.py reads them.
    schema = document.exclude(tag=TAG)
    found: Counter[int] = Counter()

    def send(case: Any, checks: Sequence[Any]) -> None:
        answer = case.call_and_validate(checks=checks, session=session, timeout=PATIENCE_S)
        found[answer.status_code] += 1

    def well_formed(case: Any) -> None:
        send(case, CHECKS)
        for name in ("min_block", "after_tx", "as_of", "cursor", "from", "to"):
            case.query.pop(name, None)
        for place in (case.path_parameters, case.query):
            place.update({name: values[name] for name in values.keys() & place.keys()})
        send(case, CHECKS)

    def malformed(case: Any) -> None:
        send(case, (*CHECKS, named.negative_data_rejection))

    with requests.Session() as session:
        for operation in (found_.ok() for found_ in schema.get_all_operations()):
            run(operation, GenerationMode.POSITIVE, well_formed)
            run(operation, GenerationMode.NEGATIVE, malformed)
    return found


def run(operation: Any, mode: GenerationMode, ask: Callable[[Any], None]) -> None:
    test = given(case=operation.as_strategy(generation_mode=mode))(ask)
    settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )(test)()
