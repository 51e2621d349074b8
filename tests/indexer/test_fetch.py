"""Data files from sources that fail in every way: bytes that do not fit mean the next is asked.

given an odd source before a good one
  ├── whatever the odd one does: the file comes from the good one, in bounded time and memory
  ├── alone: the file is withheld, the reason names the source and no secret of its address
  └── after failures the good one is asked first
"""

import asyncio
import gzip
import os
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support import sources
from support.processes import PATIENCE_S
from support.sources import Behaviour, offers, redirects, reply, says, source_that

from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.hashing import ZERO26, keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.sealing import SealedBatch
from corechain.service.errors import FileWithheld
from corechain.service.files import redirects as redirection
from corechain.service.files.fetch import FileSources
from corechain_indexer.judge import Expected, check_file
from corechain_indexer.store.files import OpenBatch

DEADLINE_S, MAX_BYTES = 1.5, 1 << 20
"""The deadline is for sources that never end; for all others it must not be what ends them."""
NEVER_END = ("endless headers", "a slow drip", "silence")
REGISTRY, CHAIN_ID = b"\x11" * 20, 31337
KEY = Secp256k1Key(keccak(b"a device of the fetch tests"))
EXPECTED = Expected(CHAIN_ID, REGISTRY)
START = 1_359_676_800


def sealed(number: int = 1) -> Batch:
    origin = Origin(number, ZERO26, ZERO26, CHAIN_ID, REGISTRY)
    items = [Observation(1, 0x872A1072BFFFFFF, START + 3600 * hour, hour) for hour in range(4)]
    report = Report.of(KEY.identity.device, number, items)
    signature = KEY.sign(report_digest(registry_domain(CHAIN_ID, REGISTRY), report))
    known = {KEY.identity.device: KEY.identity}
    return seal(origin, [SignedReport(report, signature)], known, {})


BATCH, OTHER = sealed(), sealed(2)
FILE = BATCH.data_file
ENTRY = OpenBatch(1, BATCH.commitment, bytes(32), 0)


async def judge(data: bytes) -> SealedBatch:
    return check_file(data, ENTRY, EXPECTED).batch


@asynccontextmanager
async def fetching(*urls: str, deadline_s: float = PATIENCE_S) -> AsyncIterator[FileSources]:
    made = FileSources([f"{url}/{{commitment}}" for url in urls], deadline_s, MAX_BYTES)
    try:
        yield made
    finally:
        await made.close()


ODD: dict[str, tuple[Behaviour, str]] = {
    "HTML with 200": (offers(sources.HTML, "content-type: text/html"), "not a data file"),
    "a captive portal": (redirects("/login"), "TooManyRedirects"),
    "an empty body": (offers(b""), "empty"),
    "a truncated file": (offers(FILE[:-9]), "does not hash"),
    "a file with more behind it": (offers(FILE + b"\0"), "does not hash"),
    "another batch's file": (offers(OTHER.data_file), "does not hash"),
    "a flipped bit": (offers(FILE[:-9] + bytes([FILE[-9] ^ 1]) + FILE[-8:]), "does not hash"),
    "a head and garbage": (offers(FILE[:5] + bytes(5_000)), "does not hash"),
    "gzip that is none": (offers(FILE, "content-encoding: gzip"), "not compressed"),
    "an unknown compression": (offers(FILE, "content-encoding: br"), "was not asked for"),
    "a length too small": (sources.longer_than_it_says(FILE), "does not hash"),
    "a length too large": (sources.shorter_than_it_says(FILE), "RemoteProtocolError"),
    "a huge length": (sources.endless(FILE[:99], "content-length: 99999999999"), "over"),
    "an endless body": (sources.endless(FILE[:99]), "over"),
    "endless headers": (sources.endless_headers, ""),
    "a bomb": (sources.bomb(FILE[:99], 1 << 28), "over"),
    "a bomb of HTML": (sources.bomb(b"<html>", 1 << 28), "not a data file"),
    "endless compressed nothing": (sources.empty_blocks, "over"),
    "a slow drip": (sources.drips(FILE), "within 1.5 s"),
    "silence": (sources.silent, "1.5 s|ReadTimeout"),
    "a reset": (sources.resets, "ReadError|RemoteProtocolError"),
    "a reset halfway": (sources.resets_halfway(FILE), "ReadError|RemoteProtocolError"),
    "404": (says(reply("404 Not Found", FILE)), "HTTP 404"),
    "429": (says(reply("429 Too Many Requests", b"", "retry-after: 30")), "HTTP 429"),
    "503": (says(reply("503 Service Unavailable", b"soon")), "HTTP 503"),
    "206": (says(reply("206 Partial Content", FILE[:40])), "HTTP 206"),
    "204": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), "HTTP 204"),
    "a redirect into our files": (redirects("file:///etc/passwd"), "UnsupportedProtocol"),
    "a redirect to nowhere": (redirects("http://[::bad"), "RemoteProtocolError"),
    "a redirect to another scheme": (redirects("ftp://127.0.0.1/"), "UnsupportedProtocol"),
    "huge headers": (offers(FILE, "x-more: " + "y" * 300_000), "RemoteProtocolError"),
    "two compressions": (offers(FILE, "content-encoding: gzip, gzip"), "was not asked for"),
    "half a compressed file": (offers(gzip.compress(FILE)[:-30], "content-encoding: gzip"), "hash"),
    "no HTTP at all": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "RemoteProtocolError"),
}


@pytest.mark.parametrize("name", list(ODD))
async def test_an_odd_source_is_unfit_and_the_next_is_asked(name: str) -> None:
    behave, why = ODD[name]
    deadline_s = DEADLINE_S if name in NEVER_END else PATIENCE_S
    with source_that(behave) as odd, source_that(offers(FILE)) as good:
        async with fetching(odd.url, good.url, deadline_s=deadline_s) as files:
            found = await files.first_fit(BATCH.commitment, judge)
            assert found.commitment == BATCH.commitment
        assert (len(odd.asked) > 0, good.asked) == (True, [f"/{BATCH.commitment.hex()}"])
        async with fetching(odd.url, deadline_s=deadline_s) as files:
            with pytest.raises(FileWithheld, match=why or None) as withheld:
                await files.first_fit(BATCH.commitment, judge)
        assert "source 1 (http): " in str(withheld.value)


@pytest.mark.parametrize("name", ["a bomb", "an endless body", "endless compressed nothing"])
async def test_memory_stays_in_bounds_whatever_is_sent(name: str) -> None:
    with source_that(ODD[name][0]) as odd:
        async with fetching(odd.url) as files:
            tracemalloc.start()
            with pytest.raises(FileWithheld):
                await files.first_fit(BATCH.commitment, judge)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert peak < 4 * MAX_BYTES


@pytest.mark.parametrize(
    "behave",
    [
        offers(FILE),
        sources.without_length(FILE),
        offers(gzip.compress(FILE), "content-encoding: gzip"),
        offers(zlib.compress(FILE), "content-encoding: deflate"),
        offers(FILE, "content-encoding: identity", "content-type: text/html"),
        sources.drips(FILE, 0.0001),
    ],
    ids=["plain", "until close", "gzip", "deflate", "identity", "in pieces"],
)
async def test_the_file_is_taken_however_it_is_sent(behave: Behaviour) -> None:
    with source_that(behave) as source:
        async with fetching(source.url) as files:
            assert (await files.first_fit(BATCH.commitment, judge)).data_file == FILE


async def test_redirects_are_followed_to_the_file() -> None:
    with source_that(offers(FILE)) as good, source_that(redirects(f"{good.url}/there")) as first:
        async with fetching(first.url) as files:
            await files.first_fit(BATCH.commitment, judge)
        assert good.asked == ["/there"]


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.0.1", True),
        ("169.254.169.254", True),
        ("100.64.0.1", True),
        ("0.0.0.0", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("fd00::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:8.8.8.8", False),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
    ],
)
async def test_which_addresses_are_inside(address: str, inside: bool) -> None:
    assert redirection.is_inside_address(address) is inside
    if "%" not in address:
        assert await redirection.is_inside(address) is inside


async def test_a_name_that_stands_for_nothing_is_not_inside() -> None:
    assert await redirection.addresses_of("nothing.invalid") == []
    assert await redirection.addresses_of("x" * 300) == []


async def test_who_served_lately_is_asked_first() -> None:
    with source_that(sources.silent) as dead, source_that(offers(FILE)) as good:
        async with fetching(dead.url, good.url, deadline_s=DEADLINE_S) as files:
            for _ in range(4):
                await files.first_fit(BATCH.commitment, judge)
        assert (len(dead.asked), len(good.asked)) == (1, 4)


async def test_a_source_that_asks_for_patience_is_left_alone_for_that_long() -> None:
    busy = says(reply("429 Too Many Requests", b"", "retry-after: 3600"))
    with source_that(busy) as source:
        async with fetching(source.url) as files:
            for expected in ("HTTP 429", "left alone"):
                with pytest.raises(FileWithheld, match=expected):
                    await files.first_fit(BATCH.commitment, judge)
            assert len(source.asked) == 1
            source.behave = offers(FILE)
            files.sources[0].closed_until = 0.0  # an hour later
            await files.first_fit(BATCH.commitment, judge)


async def test_a_reason_shows_no_secret_of_an_address() -> None:
    templates = [
        "http://user:hunter2@127.0.0.1:9/s3cret/{commitment}",
        "file:///home/op/{commitment}",
    ]
    files = FileSources(templates, PATIENCE_S, MAX_BYTES)
    with pytest.raises(FileWithheld) as withheld:
        await files.first_fit(BATCH.commitment, judge)
    await files.close()
    for secret in ("hunter2", "user", "s3cret", "/home", "127.0.0.1"):
        assert secret not in str(withheld.value)
    assert "source 1 (http)" in str(withheld.value)
    assert "source 2 (file)" in str(withheld.value)


# ---------------------------------------------------------------------- files on disk


def name_of(folder: Path) -> Path:
    return folder / BATCH.commitment.hex()


def as_folder(folder: Path) -> None:
    name_of(folder).mkdir()


def as_pipe(folder: Path) -> None:
    os.mkfifo(name_of(folder))


def as_loop(folder: Path) -> None:
    name_of(folder).symlink_to(name_of(folder))


def as_device(folder: Path) -> None:
    name_of(folder).symlink_to("/dev/zero")


def as_huge(folder: Path) -> None:
    with name_of(folder).open("wb") as file:
        file.write(FILE)
        file.truncate(1 << 40)  # sparse


def as_empty(folder: Path) -> None:
    name_of(folder).touch()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (as_folder, "not a regular file"),
        (as_pipe, "not a regular file"),
        (as_device, "not a regular file"),
        (as_loop, "symbolic links"),
        (as_huge, "over"),
        (as_empty, "empty"),
        (lambda _: None, "No such file"),
    ],
)
async def test_what_is_no_file_is_unfit(tmp_path: Path, make: object, why: str) -> None:
    assert callable(make)
    make(tmp_path)
    async with fetching(f"file://{tmp_path}") as files:
        with pytest.raises(FileWithheld, match=why):
            await files.first_fit(BATCH.commitment, judge)


async def test_a_link_to_the_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(FILE)
    name_of(tmp_path).symlink_to(tmp_path / "elsewhere")
    async with fetching(f"file://{tmp_path}") as files:
        assert (await files.first_fit(BATCH.commitment, judge)).data_file == FILE


async def test_a_path_that_no_system_takes_is_unfit() -> None:
    async with fetching("file:///tmp/%00") as files:
        with pytest.raises(FileWithheld, match="unreadable"):
            await files.first_fit(BATCH.commitment, judge)


async def test_a_judge_that_is_content_ends_the_search_and_another_error_too() -> None:
    async def broken(_: bytes) -> SealedBatch:
        raise RuntimeError("a fault of ours")

    with source_that(offers(FILE)) as source:
        async with fetching(source.url, source.url) as files:
            with pytest.raises(RuntimeError):
                await files.first_fit(BATCH.commitment, broken)
        assert len(source.asked) == 1


async def test_without_a_source_a_file_is_withheld() -> None:
    async with fetching() as files:
        with pytest.raises(FileWithheld, match="no sources"):
            await files.first_fit(BATCH.commitment, judge)


async def test_sources_are_asked_for_several_files_at_once() -> None:
    with source_that(sources.answers_together(FILE, 4)) as source:
        async with fetching(source.url) as files:
            fits = (files.first_fit(BATCH.commitment, judge) for _ in range(8))
            found = await asyncio.gather(*fits)
    assert [fit.commitment for fit in found] == [BATCH.commitment] * 8
