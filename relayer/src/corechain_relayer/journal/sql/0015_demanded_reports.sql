-- Reports of receipts that somebody demands on chain and that no batch has: the guard names them before it puts
-- them on the bus again, and the aggregator takes them however far below their device's newest sequence they are.
create table demanded_report (
    demand_id  bytea primary key check (octet_length(demand_id) = 32),
    report_key bytea not null check (octet_length(report_key) = 28),  -- device, sequence
    public_key bytea check (octet_length(public_key) = 64),  -- as the demand has it, of a device on P-256
    searched   bigint[] not null,  -- of each lane the newest batch among those that do not have it
    at         timestamptz not null default now()
);
