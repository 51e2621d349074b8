"""Sources outside cannot make us ask what only the inside reaches, by no redirect and by no name.

given a source in the world outside
  it cannot redirect inside; from outside to outside, and from inside to inside, is allowed
  its name cannot be made to stand for the inside later: nor between two looks
  nor can the name that it redirects to
given any source
  it cannot lead to a link-local address, where clouds keep the keys of a machine
given a name with several addresses
  the next one is tried; a name without any is unfit
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpcore
import pytest
from support.processes import PATIENCE_S
from support.sources import OddSource, offers, redirects, source_that

from corechain.protocol.batch import MAGIC
from corechain.service.errors import FileWithheld
from corechain.service.files import redirects as ways
from corechain.service.files.download import Unfit
from corechain.service.files.fetch import FileSources
from corechain.service.files.redirects import Reach, check_reach

FILE, COMMITMENT = MAGIC + b"anything", bytes(26)
HERE, WORLD, METADATA = "127.0.0.1", "8.8.8.8", "169.254.169.254"


@dataclass
class Names:
    """A name service, whose answers to successive looks are told; the last one stays. The server of
    a test is reached at the address that stands for the world, too."""

    told: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    reached: list[str] = field(default_factory=list)

    async def look(self, host: str) -> Sequence[str]:
        if ways.is_literal(host):
            return [host]
        answers = self.told.get(host, [[]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made, connect = Names(), httpcore.AnyIOBackend.connect_tcp

    async def reach(self: Any, host: str, *arguments: Any, **options: Any) -> Any:
        made.reached.append(host)
        return await connect(self, HERE if host == WORLD else host, *arguments, **options)

    monkeypatch.setattr(ways, "addresses_of", made.look)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", reach)
    return made


@asynccontextmanager
async def fetching(host: str, server: OddSource) -> AsyncIterator[FileSources]:
    """A client of the source at this name."""
    template = f"{server.url.replace(HERE, host)}/{{commitment}}"
    made = FileSources([template], PATIENCE_S, 1 << 20)
    try:
        yield made
    finally:
        await made.close()


async def fetched(files: FileSources) -> bytes:
    async def judge(data: bytes) -> bytes:
        return data

    return await files.first_fit(COMMITMENT, judge)


async def test_a_source_outside_does_not_redirect_inside(names: Names) -> None:
    names.told = {"outside.test": [[WORLD]], "other.test": [[WORLD]], "inside.test": [[HERE]]}
    with source_that(offers(FILE)) as target, source_that(redirects(target.url)) as first:
        async with fetching("inside.test", first) as files:
            assert await fetched(files) == FILE  # from inside to inside
        async with fetching("outside.test", first) as files:
            with pytest.raises(FileWithheld, match="redirects into a private network"):
                await fetched(files)
            assert len(target.asked) == 1
            first.behave = redirects(target.url.replace(HERE, "other.test"))
            assert await fetched(files) == FILE  # from outside to outside


@pytest.mark.parametrize("moved_to", [HERE, METADATA])
async def test_a_name_cannot_move_inside(names: Names, moved_to: str) -> None:
    names.told = {"moves.test": [[WORLD], [moved_to], [WORLD, HERE], [WORLD]]}
    with source_that(offers(FILE)) as server:
        async with fetching("moves.test", server) as files:
            for _ in range(2):  # at the next look already; beside an address that is none of ours
                with pytest.raises(FileWithheld, match="leads"):
                    await fetched(files)
            assert (server.asked, names.reached) == ([], [])
            assert await fetched(files) == FILE
            names.told["moves.test"] = [[moved_to]]
            with pytest.raises(FileWithheld, match="leads"):
                await fetched(files)
        assert names.reached == [WORLD]


async def test_nor_can_the_name_that_a_source_redirects_to(names: Names) -> None:
    names.told = {"first.test": [[WORLD]], "then.test": [[WORLD], [HERE]]}
    with source_that(offers(FILE)) as target:
        there = target.url.replace(HERE, "then.test")
        with source_that(redirects(there)) as first:
            async with fetching("first.test", first) as files:
                with pytest.raises(FileWithheld, match="leads into a private network"):
                    await fetched(files)
        assert target.asked == []


async def test_nobody_leads_to_what_is_on_the_link_alone(names: Names) -> None:
    names.told = {"metadata.test": [[METADATA]]}
    with source_that(redirects(f"http://{METADATA}/latest/meta-data")) as inside:
        async with fetching(HERE, inside) as files:
            with pytest.raises(FileWithheld, match="link-local"):
                await fetched(files)
        async with fetching("metadata.test", inside) as files:
            with pytest.raises(FileWithheld, match="link-local"):
                await fetched(files)
    assert names.reached == [HERE]


@pytest.mark.parametrize("address", [METADATA, "fe80::1", "::ffff:169.254.169.254"])
def test_an_operator_who_writes_a_link_local_address_means_it(address: str) -> None:
    check_reach([address], Reach.LINK)
    for reach in (Reach.INSIDE, Reach.OUTSIDE):
        with pytest.raises(Unfit):
            check_reach([address], reach)


async def test_the_next_address_of_a_name_is_tried(names: Names) -> None:
    names.told = {"several.test": [["127.0.0.9", HERE]], "none.test": [[]]}
    with source_that(offers(FILE)) as server:
        async with fetching("several.test", server) as files:
            assert await fetched(files) == FILE
        assert names.reached == ["127.0.0.9", HERE]
        async with fetching("none.test", server) as files:
            with pytest.raises(FileWithheld, match="cannot be resolved"):
                await fetched(files)
            names.told["none.test"] = [[HERE]]  # an outage of the name service was no place
            assert await fetched(files) == FILE
