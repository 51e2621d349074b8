-- What came of a batch's commitment, kept here when its intent is dropped.
alter table batch
    add column transaction  bytea check (octet_length(transaction) = 32),
    add column block_number bigint,
    add column gas_used     bigint;

-- Since when an intent is final: it is dropped so long after. Those of an older version count from now.
alter table intent add column final_at timestamptz;
update intent set final_at = now() where state = 'final';
