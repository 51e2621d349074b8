-- Segments divided by device over other databases (docs/decisions/0052). This one stays what says which batches stand.

-- How many there are. No row: the segments are here. The id is in each shard, too: none is taken for another index's.
create table shard_layout (
    one   boolean primary key default true check (one),
    id    uuid not null default gen_random_uuid(),
    count integer not null check (count > 0)
);

-- Batches that were undone and whose segments the shards may still have: written by the statement that undoes one.
-- Kept for a while after the shards are cleaned, for questions that were under way.
create table gone_batch (
    id         bigint generated always as identity primary key,
    batch_id   bigint not null,
    commitment bytea not null,
    cleaned_at timestamptz
);

-- What a shard knows a batch by beside its id.
create function token_of(commitment bytea) returns bigint immutable language sql as $$
    select ('x' || encode(substring(commitment from 1 for 8), 'hex'))::bit(64)::bigint
$$;

create or replace function note_undone(gone_id bigint, gone_commitment bytea) returns void language sql as $$
    insert into outbox (sink, kind, batch_id, commitment)
    select name, 'retract', gone_id, gone_commitment from sink where name <> 'cache';
    insert into stale_device (device) select distinct device from segment where batch_id = gone_id;
    insert into gone_batch (batch_id, commitment)
    select gone_id, gone_commitment where exists (select from shard_layout);
$$;
