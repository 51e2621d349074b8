-- Sealed batches, one row each. Adopted: found on chain and rebuilt from its data file.
create table batch (
    batch_id      bigint primary key,
    commitment    bytea not null unique check (octet_length(commitment) = 26),
    reading_count integer not null check (reading_count > 0),
    report_count  integer not null check (report_count > 0),
    failed_count  integer not null check (failed_count >= 0),
    window_start  bigint not null,
    window_end    bigint not null,
    adopted       boolean not null default false,
    sealed_at     timestamptz not null default now()
);

-- What must happen on chain, exactly once. The key says what it is in the business ('batch:7').
create table intent (
    id           bigint generated always as identity primary key,
    queue        text not null,
    key          text not null unique,
    target       bytea not null check (octet_length(target) = 20),
    calldata     bytea not null,
    state        text not null default 'queued'
                 check (state in ('queued', 'pending', 'confirmed', 'final', 'void')),
    sender       bytea check (octet_length(sender) = 20),
    nonce        bigint,
    transaction  bytea check (octet_length(transaction) = 32),
    block_number bigint,
    block_hash   bytea check (octet_length(block_hash) = 32),
    gas_used     bigint,
    created_at   timestamptz not null default now(),
    check ((nonce is null) or (sender is not null)),
    check ((state in ('confirmed', 'final')) = (block_number is not null))
);

-- One payload a nonce: two intents can never share one.
create unique index intent_nonce on intent (sender, nonce) where nonce is not null;
create index intent_open on intent (queue, id) where state not in ('final', 'void');

-- Every signed transaction, written before it is sent. Times in seconds since 1970.
create table attempt (
    hash         bytea primary key check (octet_length(hash) = 32),
    intent_id    bigint not null references intent (id),
    nonce        bigint not null,
    raw          bytea not null,
    max_fee      bigint not null,
    priority_fee bigint not null,
    signed_at    double precision not null,
    sent_at      double precision
);
create index attempt_intent on attempt (intent_id, signed_at);

-- Sequences that are in a sealed batch: the newest, and a bitmap of those below it (little-endian).
create table device_sequence (
    device bytea primary key check (octet_length(device) = 20),
    newest numeric(20, 0) not null,
    seen   bytea not null
);

-- Quality state after the last sealed batch, by device and metric. Times in seconds since 1970.
create table quality_state (
    device    bytea not null check (octet_length(device) = 20),
    metric    integer not null,
    value     integer not null,
    at        bigint not null,
    run_start bigint not null,
    primary key (device, metric)
);
