-- By when something must have happened on chain, in seconds of chain time; null where there is no hurry.
-- Queues without an order sign what is due first.
alter table intent add column due_at bigint;

-- A contract's signature (ERC-1271) has a length of its own; a key's has 64 bytes.
alter table channel_state
    drop constraint channel_state_signature_a_check,
    drop constraint channel_state_signature_b_check,
    add constraint channel_state_signatures
        check (octet_length(signature_a) <= 1024 and octet_length(signature_b) <= 1024);
