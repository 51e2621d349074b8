-- What sealed batches rest on that a reorg could still take away when they were sealed: devices whose registration
-- (or whose fleet's, or whose published key's) block was not final. The submitter looks at them before it commits.
create table batch_rests (
    batch_id bigint primary key,
    devices  bytea not null check (octet_length(devices) > 0 and octet_length(devices) % 21 = 0)  -- key type, device
);
