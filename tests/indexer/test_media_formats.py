"""Which form and which coding a client gets, and what stands in each form.

given a header Accept, or a name in the query
  ├── the most wanted form that the path has; of equals JSON before the others
  ├── one that is refused (q=0) is never sent, and the more specific range counts
  └── nothing that is accepted: 406 with what there is
given a header Accept-Encoding
  └── what comes back decodes to what was sent, or is as it was
given rows
  ├── CSV, NDJSON, Arrow and Parquet hold the same
  └── no text begins a formula in a spreadsheet
"""

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain_indexer.api.media import arrow
from corechain_indexer.api.media.compression import coding_for, compressed, compressed_stream
from corechain_indexer.api.media.encoders import encoder_for, iso_time
from corechain_indexer.api.media.formats import ALL_FORMATS, ONLY_JSON, Format, chosen
from corechain_indexer.api.media.tables import Kind
from corechain_indexer.errors import InvalidQuery, NotAcceptable

COLUMNS = {
    "count": Kind.INTEGER,
    "mean": Kind.REAL,
    "name": Kind.TEXT,
    "time": Kind.TIME,
    "revoked": Kind.BOOLEAN,
}
TABLES = tuple(form for form in ALL_FORMATS if form is not Format.JSON)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Format.JSON),
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("application/*", Format.JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.JSON),
        ("text/csv", Format.CSV),
        ("TEXT/CSV; header=present", Format.CSV),
        ("text/*", Format.CSV),
        ("text/csv;q=0.4, application/x-ndjson;q=0.5", Format.NDJSON),
        ("application/json;q=0, */*", Format.NDJSON),
        ("application/json;q=0.1, */*;q=0.2", Format.NDJSON),
        ("*/*;q=0.1, application/vnd.apache.parquet", Format.PARQUET),
        ("application/vnd.apache.arrow.stream", Format.ARROW),
        ("text/csv;q=1.0001, application/json;q=0.001", Format.JSON),
        ("text/csv;q=0.5, application/json;q=0.4, */*;q=0", Format.CSV),
        ("Application/JSON;Q=0.4, TEXT/*;q=0.5", Format.CSV),
        ("text/csv;q=0, text/*, application/json;q=0.1", Format.JSON),
    ],
)
def test_the_most_wanted_form_is_sent(accept: str | None, form: Format) -> None:
    assert chosen(None, accept, ALL_FORMATS) is form


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "*/*;q=0", "json", ";,;"])
def test_what_no_form_satisfies_is_refused_with_those_there_are(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json") as refused:
        chosen(None, accept, ALL_FORMATS)
    assert refused.value.status == 406


def test_a_name_in_the_query_goes_before_the_header() -> None:
    assert chosen("csv", "application/json", ALL_FORMATS) is Format.CSV
    with pytest.raises(NotAcceptable):
        chosen("csv", None, ONLY_JSON)
    with pytest.raises(InvalidQuery, match="format"):
        chosen("xlsx", None, ALL_FORMATS)


@given(st.text(st.sampled_from('*/;,q=01.9 \tapplicationjsontextcsv"\\\x7fé'), max_size=60))
def test_no_accept_header_breaks_the_choice(accept: str) -> None:
    try:
        assert chosen(None, accept, ALL_FORMATS) in ALL_FORMATS
    except NotAcceptable:
        return


texts = st.one_of(
    st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
)
rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        texts,
        st.one_of(st.none(), st.integers(0, 2**40)),
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=5,
)


def encoded(form: Format, pages: list[list[Any]]) -> bytes:
    encoder = encoder_for(form, COLUMNS)
    return b"".join([encoder.begin(), *(encoder.page(page) for page in pages), encoder.end()])


def read_back(form: Format, body: bytes) -> list[list[Any]]:
    """Rows with times as text, as CSV and NDJSON have them."""
    if form is Format.NDJSON:
        return [list(json.loads(line).values()) for line in body.splitlines()]
    if form is Format.CSV:
        head, *lines = csv.reader(io.StringIO(body.decode(), newline=""))
        assert head == list(COLUMNS)
        return [_typed(line) for line in lines]
    source = pa.py_buffer(body)
    table = pa.ipc.open_stream(source).read_all() if form is Format.ARROW else pq.read_table(source)
    assert table.schema.names == list(COLUMNS)
    found = [list(row.values()) for row in table.to_pylist()]
    for row in found:
        row[3] = row[3] and row[3].strftime("%Y-%m-%dT%H:%M:%SZ")
    return found


def _typed(line: list[str]) -> list[Any]:
    count, mean, name, time, revoked = line
    flag = {"": None, "true": True, "false": False}[revoked]
    return [int(count) if count else None, float(mean) if mean else None, name, time or None, flag]


def shown(row: tuple[Any, ...], form: Format) -> list[Any]:
    count, mean, name, time, revoked = row
    if form is Format.CSV:  # absent and empty are the same there
        name = name or ""
        name = f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
    return [count, mean, name, iso_time(time), revoked]


@pytest.mark.parametrize("form", TABLES)
@settings(max_examples=20)
@given(pages=st.lists(rows, max_size=3))
def test_every_form_holds_the_same_rows(form: Format, pages: list[list[Any]]) -> None:
    found = read_back(form, encoded(form, pages))
    assert found == [shown(row, form) for page in pages for row in page]


def test_a_parquet_file_is_written_in_groups_that_fit_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrow, "ROW_GROUP", 10)
    row = (1, 0.5, "x", 0, True)
    encoder = encoder_for(Format.PARQUET, COLUMNS)
    parts = [encoder.begin(), *(encoder.page([row] * 4) for _ in range(6)), encoder.end()]
    assert [bool(part) for part in parts[1:-1]] == [False, False, True] * 2
    file = pq.ParquetFile(pa.py_buffer(b"".join(parts)))
    assert (file.num_row_groups, file.metadata.num_rows) == (2, 24)


def test_without_pyarrow_the_refusal_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "corechain_indexer.api.media.arrow")
    for form in (Format.ARROW, Format.PARQUET):
        with pytest.raises(NotAcceptable, match=r"corechain-indexer\[arrow\].*text/csv"):
            encoder_for(form, COLUMNS)


# ---------------------------------------------------------------------------- coding


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("identity", None),
        ("deflate, br", None),
        ("gzip;q=0", None),
        ("gzip", "gzip"),
        ("GZIP;q=0.2", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=nonsense", None),
        ("", None),
        ("gzip;q=0.1, identity", None),
        ("gzip;q=0.1, identity;q=0.2, zstd;q=0.15", None),
        ("gzip;q=0.5, IDENTITY; Q=0.4", "gzip"),
        ("gzip;q=0.1, *;q=0.5, zstd;q=0", None),
        ("identity, gzip", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0, *;q=0.1", "zstd"),
        ("*;q=0, identity;q=0.1", None),
        ("zstd;q=0, gzip;q=0, br", None),
        ("identity;q=nonsense", None),
        ("gzip;q=0.001, gzip", "gzip"),
    ],
)
def test_a_coding_that_the_client_takes_is_chosen(accept: str | None, coding: str | None) -> None:
    assert coding_for(accept) == coding


@pytest.mark.parametrize(
    "accept",
    ["identity;q=0", "*;q=0", "br, *;q=0.0", "identity;q=0, gzip;q=0, br", "*;Q=0,gzip;q=0"],
)
def test_where_no_coding_is_left_the_answer_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="gzip, identity") as refused:
        coding_for(accept)
    assert refused.value.status == 406


DECODED = {
    "gzip": gzip.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@settings(max_examples=20)
@given(parts=st.lists(st.binary(max_size=2_000), max_size=4))
async def test_what_is_compressed_comes_back(coding: str, parts: list[bytes]) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    whole = b"".join(parts)
    assert DECODED[coding](compressed(coding, whole)) == whole
    sent = b"".join([part async for part in compressed_stream(coding, stream())])
    assert DECODED[coding](sent) == whole


async def test_what_was_sent_so_far_can_be_read_before_the_end() -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"a first page"
        raise AssertionError("the next page is not asked for")

    sending = compressed_stream("gzip", stream())
    assert zlib.decompressobj(31).decompress(await anext(sending)) == b"a first page"
