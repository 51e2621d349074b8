-- What transactions cost, with what they paid to another chain (an OP stack's L1 fee), in wei: once for each
-- by its receipt, whether it did its work or not.
alter table attempt add column cost numeric(78, 0) check (cost >= 0);

-- The same by hour, so that a day's sum is read from 24 rows however many transactions there were.
create table spending (
    queue        text not null,
    hour         timestamptz not null,
    wei          numeric(78, 0) not null,
    transactions bigint not null,
    primary key (queue, hour)
);
