-- Readings as segments instead of rows (docs/decisions/0029). Leaves of a batch are sorted by (metric, cell, device,
-- time), so a device's run in it is a slice of batch_file.leaves; a row says where the slice is and what is in it.
-- A segment stays within one day (UTC), so that whoever looks for a time knows how far to look, and statistics of
-- days open none. Eight-byte columns first: no padding.

create table segment (
    batch_id bigint not null,
    cell     bigint not null,    -- the unsigned 64 bits, read as signed
    first_at bigint not null,
    last_at  bigint not null,
    sum      bigint not null,
    position integer not null,   -- of its first leaf
    count    integer not null,
    metric   integer not null,
    min      integer not null,
    max      integer not null,
    last     integer not null,   -- value of its last reading, and that one's flag: the newest value needs no leaves,
    flag     smallint not null,  -- and a single reading is all in its row
    device   bytea not null
);

insert into segment (batch_id, cell, first_at, last_at, sum, position, count, metric, min, max, last, flag, device)
select batch_id, cell, min(observed_at), max(observed_at), sum(value), min(position), count(*), metric, min(value),
       max(value), (array_agg(value order by position desc))[1], (array_agg(flag order by position desc))[1], device
  from reading group by batch_id, metric, cell, device, observed_at / 86400;

-- In the order of a page, the device first: a cluster keeps a device's rows together. Everything else is in it, too:
-- a page of single readings is read from the index alone.
create unique index segment_device on segment (device, metric, last_at, batch_id, position)
    include (first_at, count, cell, sum, min, max, last, flag);
-- For what takes a batch away; its entries are alike, so that Postgres keeps them in 7 bytes each.
create index segment_batch on segment (batch_id);

-- No foreign key: it would look up the batch for each row that is written. They are written in the transaction that
-- makes the batch verified, and this takes them away with that.
create function drop_segments() returns trigger language plpgsql as $$
begin
    delete from segment where batch_id = old.batch_id;
    return null;
end $$;
create trigger batch_file_segments after delete on batch_file
    for each row when (old.state = 'verified') execute function drop_segments();
create trigger batch_file_segments_unverified after update of state on batch_file
    for each row when (old.state = 'verified' and new.state <> 'verified') execute function drop_segments();

create function drop_all_segments() returns trigger language plpgsql as $$
begin
    delete from segment;  -- a truncate may not name a table that the same command names
    return null;
end $$;
create trigger batch_file_emptied after truncate on batch_file for each statement execute function drop_all_segments();

create or replace function note_undone(gone_id bigint, gone_commitment bytea) returns void language sql as $$
    insert into outbox (sink, kind, batch_id, commitment)
    select name, 'retract', gone_id, gone_commitment from sink where name <> 'cache';
    insert into stale_device (device) select distinct device from segment where batch_id = gone_id;
$$;

drop table reading;
drop table rollup;
