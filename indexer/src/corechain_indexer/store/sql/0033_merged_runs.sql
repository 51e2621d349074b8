-- Readings that came singly, of one device, metric, cell and day, in one row (docs/decisions/0029): `count` is the number
-- of them below zero, and what the row of a segment says of its last reading is of the last of them. Only batches that
-- are final are merged; what takes a batch away takes its days apart again before.
alter table segment
    add column batch_steps integer[],  -- batch ids, from the row's own; all five in the order (time, batch, position)
    add column positions integer[],
    add column seconds integer[],      -- of the day
    add column scaled integer[],       -- values
    add column flags smallint[];       -- null where each is `flag`
create index segment_merged on segment (last_at) where count < 0;

-- Which days of which batches are (partly) in merged rows.
create table merged_batch (
    batch_id bigint not null,
    day      bigint not null,
    primary key (batch_id, day)
);
create index merged_batch_day on merged_batch (day);

-- Up to which day (UTC, from 1970) everything has been gone through, and up to which device of the next one.
create table merge_mark (
    single boolean primary key default true check (single),
    day    bigint not null default -1,
    device bytea
);
insert into merge_mark default values;

-- The readings of a merged row.
create function entries_of(s segment)
    returns table (batch_id bigint, "position" integer, observed_at bigint, value integer, flag smallint)
    immutable language sql as $$
    select s.batch_id + e.step, e.place, s.last_at - mod(s.last_at, 86400) + e.second, e.value, coalesce(e.flag, s.flag)
      from unnest(s.batch_steps, s.positions, s.seconds, s.scaled, s.flags) as e (step, place, second, value, flag)
$$;

-- Makes the merged rows of a day the segments again that they were made of.
create function take_apart(taken bigint) returns void language plpgsql as $$
begin
    with gone as (
           delete from segment where count < 0 and last_at >= taken * 86400 and last_at < (taken + 1) * 86400 returning *)
    insert into segment (batch_id, cell, first_at, last_at, sum, position, count, metric, min, max, last, flag, device)
    select g.batch_id + e.step, g.cell, taken * 86400 + e.second, taken * 86400 + e.second, e.value, e.place, 1, g.metric,
           e.value, e.value, e.value, coalesce(e.flag, g.flag), g.device
      from gone g
     cross join unnest(g.batch_steps, g.positions, g.seconds, g.scaled, g.flags) as e (step, place, second, value, flag);
    delete from merged_batch where day = taken;
    update merge_mark set day = least(day, taken - 1), device = null;
end $$;

-- The lock is shared among those who take batches away; who merges has it alone.
create function take_batch_apart(gone_id bigint) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(hashtextextended('corechain merging', 0));
    perform take_apart(day) from merged_batch where batch_id = gone_id;
end $$;

create or replace function drop_segments() returns trigger language plpgsql as $$
begin
    perform take_batch_apart(old.batch_id);
    delete from segment where batch_id = old.batch_id;
    delete from packed_leaves where batch_id = old.batch_id;
    return null;
end $$;

create or replace function drop_all_segments() returns trigger language plpgsql as $$
begin
    delete from segment;  -- a truncate may not name a table that the same command names
    delete from merged_batch;
    update merge_mark set day = -1, device = null;
    return null;
end $$;

create or replace function note_undone(gone_id bigint, gone_commitment bytea) returns void language sql as $$
    select take_batch_apart(gone_id);
    insert into outbox (sink, kind, batch_id, commitment)
    select name, 'retract', gone_id, gone_commitment from sink where name <> 'cache';
    insert into stale_device (device) select distinct device from segment where batch_id = gone_id;
    insert into gone_batch (batch_id, commitment)
    select gone_id, gone_commitment where exists (select from shard_layout);
$$;
