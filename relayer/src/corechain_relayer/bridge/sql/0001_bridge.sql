-- What a bridge knows. SQLite; times in seconds since 1970.
create table station (
    id integer primary key,
    name text not null unique,
    format text not null,
    device blob not null unique,
    cell text not null,
    elevation_m real,
    timezone text,
    mapping text,
    -- Which station it is, where several share a token; null: whatever the upload says.
    identity text,
    token_hash blob not null,
    -- Of a station that is polled; `header` may hold a secret, as this file does not leave the bridge.
    url text,
    every_s integer,
    header text,
    removed_at integer
) strict;
create index station_token on station (token_hash);

-- What was read from a station before, as one row: an upload reads and writes it whole. `newest` is a
-- JSON object, time of the newest observation by metric: what is not after it was sent, or came too
-- late. `counters` is one too, [time, running total] by name. `sequence` is the last that was signed.
create table known (
    station integer primary key,
    sequence integer not null,
    newest text not null,
    counters text not null
) strict;

-- Signed reports that the gateway does not hold for certain yet, in order.
create table outbox (
    id integer primary key autoincrement,
    station integer not null,
    created_at integer not null,
    report blob not null
) strict;
create index outbox_station on outbox (station);

-- Reports that the gateway refused for good, with its reason.
create table refused (
    id integer primary key,
    station integer not null,
    refused_at integer not null,
    reason text not null,
    report blob not null
) strict;
