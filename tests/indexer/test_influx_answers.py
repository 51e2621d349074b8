"""What may stand where InfluxDB should be: each odd answer is an outage, and nothing is lost.

given a server that answers with status 200
  a page, nothing of what was asked for, a table that is cut off or ends with an error: an outage
  what was to be written or erased is not taken for done, but for 204
given one that is busy, it says when to ask again
given one that refuses the token, the next question reads it again
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from influxdb_client.rest import ApiException
from support.http import Script, answers

from corechain_indexer.errors import SeriesUnavailable
from corechain_indexer.store.influx import InfluxSeries, Place, open_series

TOKEN = "a-token-of-the-tests"
HEAD = """#datatype,string,long,dateTime:RFC3339,double,string\r
#group,false,false,false,false,true\r
#default,count,,,,\r
,result,table,_time,_value,device\r
"""
ROW = ",count,0,2013-02-01T00:00:00Z,3,x\r\n"
ERROR_TABLE = (
    "\r\n#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n"
)
TABLES = {
    "a page": "<!doctype html><title>Log in</title>",
    "null": "null",
    "no columns": "a,b,c\r\n1,2,3\r\n",
    "of four answers one": HEAD + ROW,
    "a row that is cut off": HEAD + ROW + ",count,0",
    "a time that is none": HEAD + ROW.replace("2013-02-01T00:00:00Z", "noon"),
    "an error behind a row": HEAD + ROW + ERROR_TABLE + ",no memory at 10.0.0.7:8086,897\r\n",
}


@contextmanager
def series_of(script: Script) -> Iterator[InfluxSeries]:
    with answers(script) as url:
        series = open_series(url, TOKEN, "corechain", "corechain")
        # As it was found when the server was there.
        series._place, series._asked_at = Place("b" * 16, 0), time.monotonic()
        yield series


async def test_what_is_no_table_is_an_outage() -> None:
    said = Script(200, b"", "text/csv")
    with series_of(said) as series:
        for name, body in TABLES.items():
            object.__setattr__(said, "body", body.encode())  # of a server that is started once
            with pytest.raises(SeriesUnavailable) as caught:
                await series.read(bytes(20), 1, 0, 86_400, 3_600, 10)
            assert "10.0.0.7" not in str(caught.value), name
            with pytest.raises(SeriesUnavailable):
                await series.find("corechain")
        await series.close()


async def test_what_nobody_says_was_done_is_still_to_do() -> None:
    with series_of(Script(200, b"<title>Log in</title>", "text/html")) as series:
        with pytest.raises(SeriesUnavailable, match="204"):
            await series.post(["reading value=1i 1"])
        with pytest.raises(SeriesUnavailable, match="204"):
            await series.erase([(0, 1)])
        await series.close()
    with series_of(Script(204, b"")) as series:
        await series.post(["reading value=1i 1"])
        await series.erase([(0, 1)])
        await series.close()


async def test_a_busy_server_says_when_to_ask_again() -> None:
    with series_of(Script(429, b"{}", headers=(("retry-after", "7"),))) as series:
        with pytest.raises(SeriesUnavailable) as caught:
            await series.erase([(0, 1)])
        assert caught.value.retry_after_s == 7
        await series.close()


async def test_a_token_that_is_refused_is_read_again_by_the_next_question() -> None:
    with series_of(Script(401, b"{}")) as series:
        found, reads = series._place, list[str]()
        series.token = lambda: reads.append(TOKEN) or TOKEN  # type: ignore[func-returns-value]
        for ask in (
            lambda: series.read(bytes(20), 1, 0, 86_400, 3_600, 10),
            lambda: series.erase([(0, 1)]),
            lambda: series.post(["reading value=1i 1"]),
        ):
            series._place = found
            reads.clear()
            with pytest.raises((SeriesUnavailable, ApiException)):
                await ask()
            assert not reads
            with pytest.raises(SeriesUnavailable):
                await ask()
            assert reads
        await series.close()
