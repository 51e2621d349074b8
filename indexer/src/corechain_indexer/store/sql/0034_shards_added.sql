-- Twice as many shards (docs/decisions/0054). `step`: what is going on; null: nothing.
--   copy    batches are written to their owners of `count` and of twice as many shards, old ones are copied
--   switch  everything is on both; the shards are told, one by one, that they are of twice as many
--   clean   `count` is the new one; the old shards still have what moved
alter table shard_layout add column step text check (step in ('copy', 'switch', 'clean'));

-- How far a step has come on each old shard: all of its batches up to this one are done.
create table shard_move (
    shard    integer primary key,
    batch_id bigint not null,
    token    bigint not null,
    batches  bigint not null
);
