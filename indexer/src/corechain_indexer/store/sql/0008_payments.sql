-- The newest answer that was paid from a channel, for a payer that lost it on the way: a payment with the same id
-- gets the same bytes again, uncharged. Kept for a while only.
create table paid_answer (
    channel_id  bytea primary key references voucher (channel_id) on delete cascade,
    amount      numeric(39, 0) not null,
    payment_id  text not null,
    query       bytea not null,
    body        bytea not null,
    receipt     text not null,
    answered_at timestamptz not null default now()
);
create index paid_answer_age on paid_answer (answered_at);

-- Deposits that came in payments, by the hash of the payment: what was deposited before it, so that a deposit which
-- the facilitator sent without being heard is recognised when the same payment comes again.
create table deposit_attempt (
    payment    bytea primary key,
    channel_id bytea not null,
    before     numeric(39, 0) not null,
    begun_at   timestamptz not null default now()
);
create index deposit_attempt_age on deposit_attempt (begun_at);
