-- Whose logs are mirrored. A contract that is added to the deployment later is caught up by itself (`through`, with the
-- hash of that block) while the others go on, and joins them when it has what they have. Empty until an indexer of
-- this version has run: whatever an older one has mirrored was mirrored from the first block on.
create table source (
    address bytea primary key check (octet_length(address) = 20),
    joined  boolean not null,
    through bigint,
    hash    bytea
);
