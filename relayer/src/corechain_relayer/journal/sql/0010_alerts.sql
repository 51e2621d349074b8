-- What an operator is told, once when it begins and once when it is over: kept, so that a restart tells nothing again.
create table alert (
    id          bigint generated always as identity primary key,
    kind        text not null,
    key         text not null,  -- what it is about: begins with the lane of the guard that watches it
    summary     text not null,
    details     text not null,  -- JSON
    since       timestamptz not null default now(),  -- when it was first seen
    fired_at    timestamptz,    -- when it had lasted long enough
    resolved_at timestamptz
);
create unique index alert_open on alert (kind, key) where resolved_at is null;

-- Messages on their way, one row a receiver, in order; written in the transaction that changes the alert.
create table webhook (
    id       bigint generated always as identity primary key,
    target   bytea not null,  -- digest of the lane and of the receiver's URL, which may hold a token
    body     bytea not null,
    attempts integer not null default 0,
    due      timestamptz not null default now(),
    made_at  timestamptz not null default now()
);
create index webhook_target on webhook (target, id);
