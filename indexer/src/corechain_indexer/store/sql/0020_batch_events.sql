-- What happens to batches, as a log that subscribers can resume: `new` (verified), `undone` (a reorg took it, or its
-- verdict went), `final` (its block cannot go any more). What happened is noted by triggers in the transaction in
-- which it happens; one writer at a time gives it a number (`number_announcements`). A sequence would number what is
-- not committed yet: a reader that has seen 7 would miss a 6 that comes later. So numbers have no gap, and what is
-- read after one is all that came after it.

create table batch_event_log (
    one        boolean primary key default true check (one),
    -- Another log is another history: a cursor of one says nothing of the other.
    generation bytea not null default substring(uuid_send(gen_random_uuid()) from 1 for 6),
    newest     bigint not null default 0,
    pruned     bigint not null default 0  -- events up to this one may be gone
);
insert into batch_event_log default values;

create table announcement (
    id             bigint generated always as identity primary key,
    kind           text not null check (kind in ('new', 'undone')),
    batch_id       bigint not null,
    commitment     bytea not null,
    block_number   bigint not null,
    block_hash     bytea not null,
    transaction    bytea not null,
    reading_count  integer,
    rejected_count integer,
    window_start   bigint,
    window_end     bigint
);
create index announcement_batch on announcement (batch_id);

create table batch_event (
    id             bigint primary key,
    -- Tells an event from another one with its number: a database that was restored numbers on from its backup.
    tag            integer not null default floor(random() * 2147483648)::integer,
    kind           text not null check (kind in ('new', 'undone', 'final')),
    batch_id       bigint not null,
    commitment     bytea not null,
    block_number   bigint not null,
    block_hash     bytea not null,
    transaction    bytea not null,
    reading_count  integer,
    rejected_count integer,
    window_start   bigint,
    window_end     bigint,
    finality       text not null,
    open           boolean not null  -- a `new` that is neither undone nor final yet
);
create index batch_event_open on batch_event (block_number, batch_id) where open;

create function announce_new() returns trigger language plpgsql as $$
begin
    insert into announcement (kind, batch_id, commitment, block_number, block_hash, transaction, reading_count,
                              rejected_count, window_start, window_end)
    select 'new', batch_id, commitment, block_number, block_hash, transaction, new.reading_count,
           new.rejected_count, new.window_start, new.window_end
      from batch where batch_id = new.batch_id;
    return null;
end $$;
create trigger batch_file_announced after insert on batch_file
    for each row when (new.state = 'verified') execute function announce_new();
create trigger batch_file_turned_announced after update of state on batch_file
    for each row when (new.state = 'verified' and old.state <> 'verified') execute function announce_new();

-- Before the batch goes, while its verdict is still there.
create function announce_batch_undone() returns trigger language plpgsql as $$
begin
    insert into announcement (kind, batch_id, commitment, block_number, block_hash, transaction, reading_count,
                              rejected_count, window_start, window_end)
    select 'undone', old.batch_id, old.commitment, old.block_number, old.block_hash, old.transaction, reading_count,
           rejected_count, window_start, window_end
      from batch_file where batch_id = old.batch_id and state = 'verified';
    return old;
end $$;
create trigger batch_announced_undone before delete on batch
    for each row execute function announce_batch_undone();

-- A verdict that goes while the batch stays. (Where the batch goes too, it was there first.)
create function announce_verdict_undone() returns trigger language plpgsql as $$
begin
    insert into announcement (kind, batch_id, commitment, block_number, block_hash, transaction, reading_count,
                              rejected_count, window_start, window_end)
    select 'undone', batch_id, commitment, block_number, block_hash, transaction, old.reading_count,
           old.rejected_count, old.window_start, old.window_end
      from batch where batch_id = old.batch_id;
    return case tg_op when 'DELETE' then old else new end;
end $$;
create trigger batch_file_announced_undone before delete on batch_file
    for each row when (old.state = 'verified') execute function announce_verdict_undone();
create trigger batch_file_turned_announced_undone before update of state on batch_file
    for each row when (old.state = 'verified' and new.state <> 'verified') execute function announce_verdict_undone();

-- Batches of before whose end is still to be announced, and those that nobody was told of yet.
insert into announcement (kind, batch_id, commitment, block_number, block_hash, transaction, reading_count,
                          rejected_count, window_start, window_end)
select 'new', batch_id, b.commitment, b.block_number, b.block_hash, b.transaction, f.reading_count,
       f.rejected_count, f.window_start, f.window_end
  from batch b join batch_file f using (batch_id) cross join chain_mark m
 where f.state = 'verified'
   and (b.block_number > m.final
        or exists (select from outbox o where o.sink = 'stream' and o.batch_id = b.batch_id))
 order by batch_id;

-- The outbox knows this sink no more: its triggers write for every sink that there is.
delete from outbox where sink = 'stream';
delete from sink where name = 'stream';
