-- What keeps an intent from the chain, so that it outlives the process and an operator can see it.
-- spent_*: the block in which its nonce was seen spent without a result; failures: nonces that
-- reverted for good since the last release; halt_*: why it waits for an operator, and since when.
alter table intent
    add column failures    integer not null default 0,
    add column spent_block bigint,
    add column spent_hash  bytea check (octet_length(spent_hash) = 32),
    add column halt_kind   text,
    add column halt_reason text,
    add column halted_at   timestamptz,
    add check ((halt_kind is null) = (halted_at is null)),
    add check ((spent_block is null) = (spent_hash is null));

-- An intent may be signed for under several nonces, one after the other; none is given out twice.
-- Refused: no node took it, so that its nonce is free.
alter table attempt
    add column sender  bytea check (octet_length(sender) = 20),
    add column refused boolean not null default false;
update attempt a set sender = i.sender from intent i where i.id = a.intent_id;
alter table attempt alter column sender set not null;
create index attempt_nonce on attempt (sender, nonce) where not refused;

-- One index a state: thousands of confirmed intents must not be in the way of a queued one.
drop index intent_open;
create index intent_queued on intent (queue, id) where state = 'queued';
create index intent_pending on intent (queue, nonce) where state = 'pending';
create index intent_confirmed on intent (queue, block_number, block_hash) where state = 'confirmed';
create index intent_final on intent (queue, block_number) where state = 'final';
create index intent_halted on intent (queue) where halt_kind is not null;

-- How far, up to a final block, the logs of a search were read. Nothing below is read again.
create table log_position (
    name  text primary key,
    block bigint not null
);

-- Final commitments found there that no intent of ours accounts for (yet).
create table seen_commit (
    batch_id     bigint primary key,
    commitment   bytea not null check (octet_length(commitment) = 26),
    transaction  bytea not null check (octet_length(transaction) = 32),
    block_number bigint not null
);
