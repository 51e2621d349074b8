-- The chain and the deployment, by its registry, that this database is a mirror of. At most one row:
-- written by the first process that finds none, compared by every other one at its start.
create table mirrored (
    one      boolean primary key default true check (one),
    chain_id numeric(78, 0) not null,
    registry bytea not null check (octet_length(registry) = 20)
);
