"""Titles of problem details, of every refusal of every package."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator

import corechain
import corechain_indexer
import corechain_relayer
from corechain.protocol.errors import NotMirrored, ProtocolError
from corechain.protocol.problems import problem_title
from corechain.service.http_protocol import problem_bytes
from corechain_indexer.api.app import problem as query_problem
from corechain_relayer.gateway.problem import problem as gateway_problem

MOST_CHARACTERS = 100


def kinds_of(kind: type[ProtocolError]) -> Iterator[type[ProtocolError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from kinds_of(narrower)


def every_kind() -> set[type[ProtocolError]]:
    for package in (corechain, corechain_indexer, corechain_relayer):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith(("errors", "http_protocol")):
                importlib.import_module(found.name)
    return {kind for kind in kinds_of(ProtocolError) if kind.__module__.startswith("corechain")}


def test_a_title_is_one_whole_sentence_for_people() -> None:
    titles = {kind: problem_title(kind) for kind in every_kind()}
    odd = {
        kind.__name__: title
        for kind, title in titles.items()
        if not re.fullmatch(r"[A-Z][^`\n]*\.", title) or len(title) > MOST_CHARACTERS
    }
    assert not odd
    assert len(titles) > 50, "the errors of all three packages"


def test_every_server_says_the_same_title_though_its_source_is_broken_into_lines() -> None:
    error = NotMirrored(1_000_000, 5)
    said = {
        json.loads(body)["title"]
        for body in (
            problem_bytes(error),
            query_problem(error).body,
            gateway_problem(error).body,
        )
    }
    assert said == {"The index has not reached the block that was asked for."}
