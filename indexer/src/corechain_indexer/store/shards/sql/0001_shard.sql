-- A shard: the segments of the devices that are its own (docs/decisions/0052). What stands is known by the chain-wide
-- database alone: rows here may be of batches that are not verified yet, or not any more.

-- Which one of which index. At most one row.
create table shard (
    one    boolean primary key default true check (one),
    number integer not null,
    layout uuid not null
);

-- Batches whose segments are here, all of this shard's: written and dropped with them, in one transaction.
create sequence held_version;
create table held (
    batch_id     bigint not null,
    token        bigint not null,   -- the first 8 bytes of its commitment: another batch of the same id is another one
    block_number bigint not null,   -- where it was committed when it was verified last
    version      bigint not null default nextval('held_version'),
    settled      boolean not null default false,  -- whether it is known to have been verified since
    primary key (batch_id, token)
);
create index held_unsettled on held (batch_id, token) where not settled;

-- As in the chain-wide database (its migration 0016), with the token.
create table segment (
    batch_id bigint not null,
    cell     bigint not null,
    first_at bigint not null,
    last_at  bigint not null,
    sum      bigint not null,
    token    bigint not null,
    position integer not null,
    count    integer not null,
    metric   integer not null,
    min      integer not null,
    max      integer not null,
    last     integer not null,
    flag     smallint not null,
    device   bytea not null
);
create unique index segment_device on segment (device, metric, last_at, batch_id, position, token)
    include (first_at, count, cell, sum, min, max, last, flag);
create index segment_batch on segment (batch_id, token);
alter table segment set (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
