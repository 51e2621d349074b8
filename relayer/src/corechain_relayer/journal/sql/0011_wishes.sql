-- What an operator wants of an intent: its newest transaction replaced at a higher fee ('bump'), or the
-- intent given up ('cancel'). Rows, not messages: the submitter looks at them each round, so that no
-- crash of anybody forgets a wish, and one that is fulfilled asks for nothing more.
create table wish (
    intent_id bigint not null references intent (id) on delete cascade,
    kind      text not null check (kind in ('bump', 'cancel')),
    hash      bytea check (octet_length(hash) = 32),  -- of a bump: the transaction to be replaced
    reason    text not null,
    made_at   timestamptz not null default now(),
    primary key (intent_id, kind),
    check ((kind = 'bump') = (hash is not null))
);

-- Queues in which nothing is signed or sent until an operator resumes them.
create table queue_pause (
    queue  text primary key,
    reason text not null,
    since  timestamptz not null default now()
);

-- When a submitter last looked at its queue, by which key, and what kept it from its work then.
create table queue_look (
    queue     text primary key,
    sender    bytea not null check (octet_length(sender) = 20),
    max_fee   bigint not null,
    in_flight integer not null,
    ordered   boolean not null,
    problem   text,
    seen_at   timestamptz not null default now()
);

-- wait_*: what an intent was refused for that cures itself, as long as it lasts. ended_because: why it
-- is void.
alter table intent
    add column wait_kind     text,
    add column wait_reason   text,
    add column waiting_since timestamptz,
    add column ended_because text,
    add check ((wait_kind is null) = (waiting_since is null));

-- Whether it spends the nonce of an intent on nothing, as an operator wants to have it cancelled.
alter table attempt add column cancels boolean not null default false;
