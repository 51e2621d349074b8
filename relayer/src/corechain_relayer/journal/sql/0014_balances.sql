-- What a key could pay with, every few minutes of the last days: how long that lasts is told by what was
-- spent, whatever it was spent on (also fees of layer 1, which no receipt of a rollup shows).
create table balance_sample (
    sender  bytea not null check (octet_length(sender) = 20),
    at      timestamptz not null default now(),
    balance numeric(78, 0) not null,
    primary key (sender, at)
);
