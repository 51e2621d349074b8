-- Leaves of batches that are final and not new, as compressed columns (store/packing.py): three bytes a reading instead
-- of forty. In blocks of 1,024 leaves, so that a slice costs a block or two. batch_file.leaves is null then.
create table packed_leaves (
    batch_id bigint not null references batch_file (batch_id) on delete cascade,
    number   integer not null,
    leaves   bytea not null,
    primary key (batch_id, number)
);
alter table packed_leaves alter column leaves set storage external;  -- is compressed already
create index batch_file_unpacked on batch_file (settled_at) where state = 'verified' and leaves is not null;

-- Blocks first … last of a batch, in order.
create function packed_blocks(bigint, integer, integer) returns bytea[] stable language sql as $$
    select array(select leaves from packed_leaves where batch_id = $1 and number between $2 and $3 order by number)
$$;

create or replace function drop_segments() returns trigger language plpgsql as $$
begin
    delete from segment where batch_id = old.batch_id;
    delete from packed_leaves where batch_id = old.batch_id;
    return null;
end $$;

-- What the series database must take out again (0017).
alter table outbox add column packed bytea[];
create or replace function note_leaves() returns trigger language plpgsql as $$
begin
    if exists (select from sink where name = 'series' and target <> '') then
        select leaves, case when leaves is null then packed_blocks(batch_id, 0, 2147483647) end
          into new.leaves, new.packed from batch_file where batch_id = new.batch_id;
    end if;
    return new;
end $$;
