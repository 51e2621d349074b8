"""Tables that are made once and emptied between tests: 25 migrations and a database of its own cost
a test of milliseconds most of a second."""

import asyncpg

from corechain.service.database import migrate
from corechain_indexer.store import MIGRATIONS

KEEP = """
do $$ declare t text; begin
    create schema seed;
    for t in select tablename from pg_tables where schemaname = 'public' loop
        execute format('create table seed.%1$I as table public.%1$I', t);
    end loop;
end $$
"""
"""What the migrations themselves have put into the tables."""
RESET = """
do $$ declare t text; begin
    -- Neither triggers nor foreign keys: what they would write is emptied too.
    set local session_replication_role = replica;
    for t in select tablename from pg_tables where schemaname = 'seed' loop
        execute format('delete from public.%1$I', t);
        execute format('insert into public.%1$I overriding system value table seed.%1$I', t);
    end loop;
    -- Another log: what Redis still has of the last test is none of it.
    update public.batch_event_log
       set generation = substring(uuid_send(gen_random_uuid()) from 1 for 6);
end $$
"""


async def as_new(url: str) -> None:
    """The tables of the indexer as after its migrations, whatever a test has left in them."""
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("select to_regnamespace('seed') is null"):
            await migrate(url, MIGRATIONS)
            await connection.execute(KEEP)
        await connection.execute(RESET)
    finally:
        await connection.close()
