-- Evidence for the watchtower: the newest state of a channel that both parties signed.
create table channel_state (
    channel_id  bytea primary key check (octet_length(channel_id) = 32),
    version     bigint not null,
    balance_a   numeric(27, 0) not null,
    signature_a bytea not null check (octet_length(signature_a) = 64),
    signature_b bytea not null check (octet_length(signature_b) = 64),
    stored_at   timestamptz not null default now()
);
