-- How many frames were ever appended to a lane of the bus, as of the server's run that said so. A bus
-- that comes back with fewer has lost what was acknowledged.
create table bus_position (
    stream   text not null,
    lane     integer not null,
    run      text not null,
    appended bigint not null,
    primary key (stream, lane)
);

-- Into how many lanes the deployment divides its devices now, and the most that there ever were.
create table lane_count (
    one   boolean primary key default true check (one),
    lanes integer not null check (lanes > 0),
    most  integer not null check (most >= lanes)
);

-- What a used sequence was used for: 64 digests of 8 bytes a row, that of sequence s at s modulo 64 in
-- chunk s div 64, zero where none is known. Bit strings, because Postgres can or them together.
create table report_digest (
    device  bytea not null check (octet_length(device) = 20),
    chunk   bigint not null,
    digests bit(4096) not null,
    primary key (device, chunk)
);
