-- What final blocks have told a view of a contract, so that a start reads on from there. All logs of the
-- contract from first_block to block, as far as the view needs them. Rows may be dropped at any time: they
-- are read anew. reader: who reads on now, until reads_until; the others use what it keeps.
create table final_view (
    id          bigint generated always as identity primary key,
    name        text        not null,
    chain_id    numeric(78) not null,
    contract    bytea       not null check (octet_length(contract) = 20),
    first_block bigint      not null,
    block       bigint      not null,
    block_hash  bytea       not null check (octet_length(block_hash) = 32),
    logs        bigint      not null,  -- rows of final_log; fewer: somebody has deleted some
    reader      uuid        not null,
    reads_until timestamptz not null,
    unique (name, chain_id, contract),
    check (first_block <= block + 1)
);

create table final_log (
    view_id      bigint  not null references final_view (id) on delete cascade,
    block_number bigint  not null,
    log_index    integer not null,
    block_hash   bytea   not null check (octet_length(block_hash) = 32),
    transaction  bytea   not null check (octet_length(transaction) = 32),
    topics       bytea   not null check (octet_length(topics) % 32 = 0),  -- 32 bytes each
    data         bytea   not null,
    primary key (view_id, block_number, log_index)
);
