-- name: last_batch
-- The newest batch of a lane ($1 first id, $2 last id).
select batch_id, commitment from batch where batch_id between $1 and $2
order by batch_id desc limit 1;

-- name: commitment_of
-- The commitment of one batch.
select commitment from batch where batch_id = $1;

-- name: commitments_between
-- Ids and commitments of a lane, ascending.
select batch_id, commitment from batch where batch_id between $1 and $2 order by batch_id;

-- name: insert_batch
-- A sealed or adopted batch.
insert into batch (batch_id, commitment, reading_count, report_count, failed_count,
                   window_start, window_end, adopted)
values ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: insert_intent
-- What is to happen on chain. A key that exists is left alone: it was wanted before.
insert into intent (queue, key, target, calldata) values ($1, $2, $3, $4)
on conflict (key) do nothing;

-- name: upsert_sequences
-- Windows of the devices of a batch (parallel arrays).
insert into device_sequence (device, newest, seen)
select * from unnest($1::bytea[], $2::numeric[], $3::bytea[])
on conflict (device) do update set newest = excluded.newest, seen = excluded.seen;

-- name: upsert_quality
-- Quality state after a batch (parallel arrays).
insert into quality_state (device, metric, value, at, run_start)
select * from unnest($1::bytea[], $2::int[], $3::int[], $4::bigint[], $5::bigint[])
on conflict (device, metric) do update
set value = excluded.value, at = excluded.at, run_start = excluded.run_start;

-- name: sequences
-- Windows of some devices.
select device, newest, seen from device_sequence where device = any($1::bytea[]);

-- name: quality_states
-- Quality state of some devices.
select device, metric, value, at, run_start from quality_state where device = any($1::bytea[]);

-- name: open_intents
-- Intents of a queue that are not final, in order.
select id, key, target, calldata, state, nonce, transaction, block_number, block_hash
from intent where queue = $1 and state not in ('final', 'void') order by id limit $2;

-- name: attempts_of
-- Signed transactions of some intents, oldest first.
select intent_id, hash, nonce, raw, max_fee, priority_fee, signed_at, sent_at
from attempt where intent_id = any($1::bigint[]) order by signed_at;

-- name: intent_state
-- State of an intent by its key.
select state, transaction, block_number, gas_used from intent where key = $1;

-- name: newest_nonce
-- The highest nonce that the journal ever gave to a sender.
select max(nonce) from intent where sender = $1;

-- name: claim_nonce
-- Binds a nonce to an intent, once.
update intent set state = 'pending', sender = $2, nonce = $3
where id = $1 and (nonce is null or nonce = $3);

-- name: insert_attempt
-- A signed transaction, before it is sent.
insert into attempt (hash, intent_id, nonce, raw, max_fee, priority_fee, signed_at)
values ($1, $2, $3, $4, $5, $6, $7);

-- name: mark_sent
-- The node has it.
update attempt set sent_at = $2 where hash = $1;

-- name: confirm
-- In a block; not final yet.
update intent set state = 'confirmed', transaction = $2, block_number = $3, block_hash = $4,
                  gas_used = $5
where id = $1 and state <> 'final';

-- name: unconfirm
-- A reorg took its block: pending again, or queued when nothing of ours was signed for it.
update intent set state = case when nonce is null then 'queued' else 'pending' end,
                  transaction = null, block_number = null, block_hash = null, gas_used = null
where id = $1 and state = 'confirmed';

-- name: finalize
-- The chain will not take it back.
update intent set state = 'final' where id = $1 and state = 'confirmed';

-- name: final_block
-- The block of the newest final intent of a queue.
select max(block_number) from intent where queue = $1 and state = 'final';

-- name: batch_status
-- A batch with what became of its commitment on chain.
select b.batch_id, b.commitment, b.reading_count, b.report_count, b.failed_count, b.window_start,
       b.window_end, b.adopted, i.state, i.transaction, i.block_number, i.gas_used
from batch b left join intent i on i.key = 'batch:' || b.batch_id where b.batch_id = $1;

-- name: store_channel_state
-- Evidence only ever gets newer.
insert into channel_state (channel_id, version, balance_a, signature_a, signature_b)
values ($1, $2, $3, $4, $5)
on conflict (channel_id) do update
set version = excluded.version, balance_a = excluded.balance_a,
    signature_a = excluded.signature_a, signature_b = excluded.signature_b, stored_at = now()
where channel_state.version < excluded.version;

-- name: channel_state
-- The newest evidence for a channel.
select version, balance_a, signature_a, signature_b from channel_state where channel_id = $1;

-- name: void_intent
-- Ends an intent that is not needed any more.
update intent set state = 'void', transaction = null, block_number = null, block_hash = null,
                  gas_used = null
where id = $1 and state <> 'final';

-- name: forget_intent
-- Drops an intent for which nothing was ever signed.
delete from intent where id = $1 and state = 'queued' and nonce is null;

-- name: answers_to
-- Intents that answer some demands ($1 demand ids in hexadecimal).
select key, state, transaction, block_number from intent
where queue = 'guard' and split_part(key, ':', 2) = any($1::text[]) order by id;

-- name: bus_positions
-- Where the lanes of a bus were when somebody last looked.
select lane, run, appended from bus_position where stream = $1;

-- name: keep_bus_positions
-- Positions of a bus (parallel arrays). In one run the highest counts: writers come in any order.
insert into bus_position (stream, lane, run, appended)
select $1, * from unnest($2::int[], $3::text[], $4::bigint[])
on conflict (stream, lane) do update set run = excluded.run, appended = excluded.appended
where bus_position.run <> excluded.run or bus_position.appended < excluded.appended;

-- name: report_digests
-- What some sequences were used for (parallel arrays: device, chunk).
select device, chunk, digests from report_digest
join unnest($1::bytea[], $2::bigint[]) as wanted (device, chunk) using (device, chunk);

-- name: keep_report_digests
-- Digests of a batch's reports (parallel arrays). Who begins a chunk drops what is too far below it
-- to be looked at again ($4 chunks), so a device keeps a bounded number of rows.
with kept as (
    insert into report_digest (device, chunk, digests)
    select * from unnest($1::bytea[], $2::bigint[], $3::varbit[])
    on conflict (device, chunk) do update set digests = report_digest.digests | excluded.digests
    returning device, chunk, (xmax = 0) as begun
)
delete from report_digest using kept
where kept.begun and report_digest.device = kept.device
  and report_digest.chunk < kept.chunk - $4::bigint;

-- name: newest_sequence
-- The highest sequence of a device that is in a batch.
select newest from device_sequence where device = $1;

-- name: lane_count
-- Into how many lanes devices are divided, and the most that there ever were.
select lanes, most from lane_count;

-- name: first_lane_count
-- The first writer of the first lane says how many there are.
insert into lane_count (lanes, most) values ($1, $1) on conflict do nothing;

-- name: change_lane_count
-- By who holds the lock alone: nobody divides by the old number any more.
update lane_count set lanes = $1, most = greatest(most, $1);
