-- name: last_batch
-- The newest batch of a lane ($1 first id, $2 last id).
select batch_id, commitment from batch where batch_id between $1 and $2
order by batch_id desc limit 1;

-- name: lane_pace
-- Seconds in which a lane ($1 first id, $2 last id) sealed its $3 newest batches; null when it has not
-- so many, or has rebuilt some of them.
with newest as (
    select batch_id, sealed_at, adopted from batch where batch_id between $1 and $2
    order by batch_id desc limit 1
)
select extract(epoch from newest.sealed_at - old.sealed_at)::double precision
from newest join batch old on old.batch_id = newest.batch_id - $3::bigint and old.batch_id > $1
where not newest.adopted and not old.adopted;

-- name: batches_about
-- All batches, those first whose leaves' times overlap some ($1 first, $2 last second), then the newest.
select commitment from batch
order by (window_start <= $2 and window_end >= $1) desc, batch_id desc;

-- name: commitment_of
-- The commitment of one batch.
select commitment from batch where batch_id = $1;

-- name: known_commitments
-- Those of some commitments that are of a batch.
select commitment from batch where commitment = any($1::bytea[]);

-- name: insert_batch
-- A sealed or adopted batch.
insert into batch (batch_id, commitment, reading_count, report_count, failed_count,
                   window_start, window_end, adopted)
values ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: insert_intent
-- What is to happen on chain. A key that exists is left alone: it was wanted before.
insert into intent (queue, key, target, calldata) values ($1, $2, $3, $4)
on conflict (key) do nothing;

-- name: begin_intent
-- An intent that is wanted now, whatever was before: a void one of the same key begins again. So does
-- what only fills a nonce ('nothing:…') and is bound to none: it is wanted because nothing else fills it.
with begun as (
    insert into intent (queue, key, target, calldata) values ($1, $2, $3, $4)
    on conflict (key) do update set state = 'queued', ended_because = null, failures = 0,
                                    halt_kind = null, halt_reason = null, halted_at = null,
                                    created_at = now()
    where intent.state = 'void' or (intent.state = 'queued' and starts_with(intent.key, 'nothing:'))
    returning id
), forgotten as (
    delete from wish using begun where wish.intent_id = begun.id
)
select id from begun;

-- name: upsert_devices
-- Windows and packed quality states of some devices (parallel arrays). Numbers of 64 bits without a
-- sign as text: as numeric they take the client ten times as long.
insert into device_sequence (device, newest, seen, states)
select new.device, new.newest::numeric, new.seen, new.states
from unnest($1::bytea[], $2::text[], $3::bytea[], $4::bytea[]) as new (device, newest, seen, states)
on conflict (device) do update
set newest = excluded.newest, seen = excluded.seen, states = excluded.states;

-- name: sequences
-- Windows of some devices.
select device, newest::text, seen from device_sequence where device = any($1::bytea[]);

-- name: device_rows
-- All that the journal has of some devices.
select device, newest::text, seen, states from device_sequence where device = any($1::bytea[]);

-- name: intent_state
-- State of an intent by its key.
select state, transaction, block_number, gas_used from intent where key = $1;

-- name: mark_sent
-- The node has them ($1 hashes).
update attempt set sent_at = $2 where hash = any($1::bytea[]);

-- name: final_block
-- The block of the newest final intent of a queue.
select max(block_number) from intent where queue = $1 and state = 'final';

-- name: batch_status
-- A batch with what became of its commitment on chain; the batch itself knows when its intent was
-- dropped.
select b.batch_id, b.commitment, b.reading_count, b.report_count, b.failed_count, b.window_start,
       b.window_end, b.adopted,
       coalesce(i.state, case when b.transaction is not null then 'final' end) as state,
       coalesce(i.transaction, b.transaction) as transaction,
       coalesce(i.block_number, b.block_number) as block_number,
       coalesce(i.gas_used, b.gas_used) as gas_used
from batch b left join intent i on i.key = 'batch:' || b.batch_id where b.batch_id = $1;

-- name: store_channel_state
-- Evidence only ever gets newer.
insert into channel_state (channel_id, version, balance_a, signature_a, signature_b)
values ($1, $2, $3, $4, $5)
on conflict (channel_id) do update
set version = excluded.version, balance_a = excluded.balance_a,
    signature_a = excluded.signature_a, signature_b = excluded.signature_b, stored_at = now()
where channel_state.version < excluded.version;

-- name: channel_state_version
-- How new the evidence for a channel is.
select version from channel_state where channel_id = $1;

-- name: newer_channel_states
-- The evidence for some channels that is newer than a version of each (parallel arrays).
select held.channel_id, held.version, held.balance_a, held.signature_a, held.signature_b
from channel_state held join unnest($1::bytea[], $2::bigint[]) as known (channel_id, version)
     on held.channel_id = known.channel_id where held.version > known.version;

-- name: pending_intents
-- Intents with a bound nonce that are in no block; those that wait for finality come last ($2: how
-- many at a time).
select id, key, target, calldata, state, nonce, spent_block, spent_hash, failures, halt_kind,
       (select reason from wish where intent_id = id and kind = 'cancel') as cancel,
       (select hash from wish where intent_id = id and kind = 'bump') as bump, wait_kind
from intent where queue = $1 and state = 'pending'
order by spent_block is not null, nonce limit $2;

-- name: answers_to
-- Intents that answer some demands ($1 demand ids in hexadecimal); whether an operator has cancelled
-- them, or wants to.
select key, state, transaction, block_number,
       ended_because like 'cancelled: %'
       or exists (select from wish w where w.intent_id = intent.id and w.kind = 'cancel') as cancelled
from intent
where queue = 'guard' and split_part(key, ':', 2) = any($1::text[]) order by id;

-- name: intents_of
-- All of a queue ($1), oldest first: of one that is never long, as that of challenges. is_fresh: void,
-- and neither signed for nor cancelled by an operator.
select key, state,
       state = 'void' and coalesce(ended_because, '') not like 'cancelled:%'
       and not exists (select from attempt where attempt.intent_id = intent.id) as is_fresh
from intent where queue = $1 order by id;

-- name: note_given_up
-- The last of many tries ($1: its key) is void; that there will be no more ($2) is why.
update intent set ended_because = 'given up: ' || $2 where key = $1 and state = 'void';

-- name: begin_fresh_intent
-- A new intent; or one that was void before anything was signed for it, with the call as it is now.
-- Not beside another of its purpose (what comes before the last colon of its key) that is on its way:
-- its submitter may have taken it back after a reorg, since somebody looked.
insert into intent (queue, key, target, calldata)
select $1, $2, $3, $4 where not exists (
    select from intent other
    where other.queue = $1 and other.state in ('queued', 'pending') and other.key <> $2
      and starts_with(other.key, regexp_replace($2, '[^:]*$', ''))
)
on conflict (key) do update
set state = 'queued', target = excluded.target, calldata = excluded.calldata, ended_because = null,
    failures = 0, created_at = now()
where intent.state = 'void' and not exists (select from attempt where attempt.intent_id = intent.id);

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
-- Digests of the reports of some batches (parallel arrays). Who begins a chunk drops what is too far below it
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

-- name: lane_count
-- Into how many lanes devices are divided, and the most that there ever were.
select lanes, most from lane_count;

-- name: first_lane_count
-- The first writer of the first lane says how many there are.
insert into lane_count (lanes, most) values ($1, $1) on conflict do nothing;

-- name: change_lane_count
-- By who holds the lock alone: nobody divides by the old number any more.
update lane_count set lanes = $1, most = greatest(most, $1);

-- name: oldest_queued
-- The oldest intents that nothing is signed for ($2: how many): the next of an ordered queue, halted
-- or not.
select id, key, target, calldata, state, nonce, spent_block, spent_hash, failures, halt_kind,
       (select reason from wish where intent_id = id and kind = 'cancel') as cancel,
       (select hash from wish where intent_id = id and kind = 'bump') as bump, wait_kind
from intent where queue = $1 and state = 'queued' order by id limit $2;

-- name: most_urgent
-- The next queued intents of an unordered queue that are neither halted nor among the paused ($2): up
-- to $3, the nearest deadline first, then the oldest.
select id, key, target, calldata, state, nonce, spent_block, spent_hash, failures, halt_kind,
       (select reason from wish where intent_id = id and kind = 'cancel') as cancel,
       (select hash from wish where intent_id = id and kind = 'bump') as bump, wait_kind
from intent where queue = $1 and state = 'queued' and halt_kind is null and id <> all($2::bigint[])
order by due_at nulls last, id limit $3;

-- name: want_in_time
-- What is to happen on chain by some time of the chain (parallel arrays: key, calldata, deadline; the
-- most urgent first). What is on its way is left alone, but for a deadline that a reorg moved; what
-- was void, because it was not needed for a while, begins again; what an operator has cancelled does
-- not. A demand has one answer on its way: not beside another that the submitter has taken back after
-- a reorg, since the guard looked. The keys that were not known before.
with wanted as (
    insert into intent (queue, key, target, calldata, due_at)
    select $1, new.key, $2, new.calldata, new.due_at
    from unnest($3::text[], $4::bytea[], $5::bigint[])
         with ordinality as new (key, calldata, due_at, place)
    where $1 <> 'guard' or not exists (
        select from intent other
        where other.queue = 'guard' and split_part(other.key, ':', 2) = split_part(new.key, ':', 2)
          and other.key <> new.key and other.state in ('queued', 'pending')
          and not exists (select from wish w where w.intent_id = other.id and w.kind = 'cancel')
    )
    order by new.place
    on conflict (key) do update
    set due_at = excluded.due_at, ended_because = null,
        state = case intent.state when 'void' then 'queued' else intent.state end
    where (intent.state = 'void' and coalesce(intent.ended_because, '') not like 'cancelled:%')
       or (intent.state in ('queued', 'pending') and intent.due_at is distinct from excluded.due_at)
    returning key, xmax = 0 as is_new
)
select key from wanted where is_new;

-- name: attempts_of
-- Signed transactions of some intents under their present nonces, oldest first, whatever clocks say.
select a.intent_id, a.hash, a.nonce, a.raw, a.max_fee, a.priority_fee, a.signed_at, a.sent_at,
       a.cancels
from attempt a join intent i on i.id = a.intent_id and i.nonce = a.nonce
where a.intent_id = any($1::bigint[]) and not a.refused order by a.place;

-- name: strays
-- Signed transactions of a sender ($2) for intents of a queue ($1) that do not count any more, under
-- nonces from $3 on that nothing else holds; those signed since $4. Of each nonce the dearest.
select distinct on (a.nonce)
       a.hash, a.nonce, a.raw, a.max_fee, a.priority_fee, a.signed_at, a.sent_at, a.cancels,
       i.id, i.key, i.target, i.calldata
from intent i join attempt a on a.intent_id = i.id
where i.queue = $1 and a.sender = $2 and a.nonce >= $3::bigint and a.signed_at >= $4
  and a.refused and not a.cancels
  and not exists (select from attempt held join intent o on o.id = held.intent_id
                  where held.sender = $2 and held.nonce = a.nonce and not held.refused
                    and o.state <> 'void')
order by a.nonce, a.max_fee desc, a.place desc;

-- name: unfinished
-- Whether something of a queue is in no block yet.
select exists (select 1 from intent where queue = $1 and state in ('queued', 'pending'));

-- name: lane_progress
-- Of a lane's queue ($1) and batches ($2 first id, $3 last id), in seconds: age of the oldest intent
-- that is in no block, age of the newest batch; and the number of that. Null where there is none.
with newest as (
    select batch_id, sealed_at from batch where batch_id between $2 and $3
    order by batch_id desc limit 1
)
select
    (select extract(epoch from now() - min(created_at))::double precision from intent
     where queue = $1 and state in ('queued', 'pending')) as waiting_s,
    (select extract(epoch from now() - sealed_at)::double precision from newest) as idle_s,
    (select batch_id - $2::bigint from newest) as batches;

-- name: free_nonces
-- The $3 lowest nonces from $2 on that are signed for by a sender in no attempt that may still count.
-- What another transaction did (of a stranger, or of a journal that was lost) needs its own no more:
-- nobody sends that again after a reorg, and all above its nonce would wait for ever.
with taken as (
    select distinct a.nonce from attempt a join intent i on i.id = a.intent_id
    where a.sender = $1 and a.nonce >= $2::bigint and not a.refused and i.state <> 'void'
      and (i.transaction is null or exists (
          select from attempt did
          where did.hash = i.transaction and did.intent_id = i.id and did.nonce = a.nonce))
)
select candidate
from generate_series($2::bigint, $2::bigint + $3::bigint + (select count(*) from taken) - 1)
     as candidate
where candidate not in (select nonce from taken) order by candidate limit $3;

-- name: claim_nonces
-- Binds nonces of a sender ($1) to intents (parallel arrays), each once; how many were bound. What
-- another transaction did gives up its own for that, as free_nonces has it: whoever is signed for
-- next keeps it. After a reorg that takes the other transaction, it is back in the queue, for a nonce
-- behind that one: it is mined only once that one is decided.
with yielded as (
    select i.id, i.nonce from intent i
    where i.sender = $1 and i.nonce = any($3::bigint[]) and i.state in ('confirmed', 'final')
      and not exists (select from attempt did where did.hash = i.transaction
                      and did.intent_id = i.id and did.nonce = i.nonce)
), freed as (
    update attempt set refused = true from yielded
    where attempt.intent_id = yielded.id and attempt.nonce = yielded.nonce
), released as (
    update intent set nonce = null from yielded where intent.id = yielded.id returning 1
), bound as (
    update intent set state = 'pending', sender = $1, nonce = new.nonce
    from unnest($2::bigint[], $3::bigint[]) as new (id, nonce)
    where intent.id = new.id and intent.state in ('queued', 'pending')
      and (intent.nonce is null or intent.nonce = new.nonce)
      and (select count(*) from released) >= 0  -- first: one nonce is one intent's
    returning 1
)
select count(*) from bound;

-- name: insert_attempts
-- Signed transactions of a sender ($1; parallel arrays), before they are sent. The same bytes again,
-- after they were refused, count anew; of an intent that took the place of one which is void, with
-- the same call under the same nonce, they are that one's no more.
insert into attempt (sender, intent_id, hash, nonce, raw, max_fee, priority_fee, signed_at, cancels)
select $1, * from unnest($2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[],
                         $7::bigint[], $8::double precision[], $9::boolean[])
on conflict (hash) do update
set intent_id = excluded.intent_id, refused = false, signed_at = excluded.signed_at, sent_at = null,
    cancels = excluded.cancels, place = excluded.place;

-- name: refuse_attempts
-- No node took what was signed for an intent under this nonce.
update attempt set refused = true where intent_id = $1 and nonce = $2;

-- name: mark_spent
-- Its nonce was seen spent in this block, without a result.
update intent set spent_block = $2, spent_hash = $3 where id = $1 and state = 'pending';

-- name: renew
-- Back to the queue without a nonce: the old one is spent for good. $2: failures it counts for. What
-- an operator wants cancelled is void instead: nothing that was signed for it can land any more.
with cancelled as (
    delete from wish where intent_id = $1 and kind = 'cancel' returning reason
)
update intent set state = case when exists (select from cancelled) then 'void' else 'queued' end,
                  ended_because = (select 'cancelled: ' || reason from cancelled),
                  nonce = null, spent_block = null, spent_hash = null, failures = failures + $2,
                  wait_kind = null, wait_reason = null, waiting_since = null
where id = $1 and state = 'pending';

-- name: confirm
-- In blocks (parallel arrays); not final yet. Whatever kept them is over.
update intent set state = 'confirmed', transaction = done.transaction, block_number = done.number,
                  block_hash = done.hash, gas_used = done.gas,
                  spent_block = null, spent_hash = null,
                  halt_kind = null, halt_reason = null, halted_at = null,
                  wait_kind = null, wait_reason = null, waiting_since = null
from unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bigint[])
     as done (id, transaction, number, hash, gas)
where intent.id = done.id and state in ('queued', 'pending');

-- name: newest_confirmed_blocks
-- Blocks with confirmed intents of a queue, newest first.
select distinct block_number, block_hash from intent
where queue = $1 and state = 'confirmed' order by block_number desc, block_hash desc limit $2;

-- name: confirmed_blocks_through
-- Blocks up to $2 with confirmed intents of a queue, oldest first.
select distinct block_number, block_hash from intent
where queue = $1 and state = 'confirmed' and block_number <= $2
order by block_number, block_hash limit $3;

-- name: unconfirm
-- A reorg took these blocks (parallel arrays): pending again, or queued when nothing of ours was
-- signed for it; then void where an operator wants it cancelled.
update intent set state = case when nonce is not null then 'pending'
                               when id in (select intent_id from wish where kind = 'cancel') then 'void'
                               else 'queued' end,
                  ended_because = case when nonce is null then
                      (select 'cancelled: ' || reason from wish where intent_id = id and kind = 'cancel')
                  end,
                  transaction = null, block_number = null, block_hash = null, gas_used = null
where queue = $1 and state = 'confirmed'
  and (block_number, block_hash) in (select * from unnest($2::bigint[], $3::bytea[]))
returning key;

-- name: finalize
-- The chain will not take these blocks back (parallel arrays).
update intent set state = 'final', final_at = now()
where queue = $1 and state = 'confirmed'
  and (block_number, block_hash) in (select * from unnest($2::bigint[], $3::bytea[]));

-- name: prune_final
-- Drops the oldest final intents of a queue ($1; $4: how many at a time) with their attempts: those
-- in blocks up to $2 that are final for $3 seconds. What came of them stays with their batches. How
-- many were dropped.
with oldest as (
    select id, key, transaction, block_number, gas_used, final_at from intent
    where queue = $1 and state = 'final' and block_number <= $2::bigint
    order by block_number limit $4 for update skip locked
), old as (
    select id, transaction, block_number, gas_used,
           case when key like 'batch:%' then substring(key from 7)::bigint end as batch_id
    from oldest where final_at < now() - make_interval(secs => $3::double precision)
), kept as (
    update batch set transaction = old.transaction, block_number = old.block_number,
                     gas_used = old.gas_used
    from old where batch.batch_id = old.batch_id
), unsigned as (
    delete from attempt using old where attempt.intent_id = old.id
), dropped as (
    delete from intent using old where intent.id = old.id returning 1
)
select count(*) from dropped;

-- name: void_intent
-- Ends an intent that is not needed any more, and says why ($2); where an operator wants it cancelled,
-- that is why. What was signed for it is nobody's nonce then, also once it is wanted again: it gets
-- another nonce, and one that nobody fills would stop all after it.
with cancelled as (
    delete from wish where intent_id = $1 and kind = 'cancel' returning reason
), freed as (
    update attempt set refused = true from intent
    where intent.id = $1 and intent.state = 'pending'
      and attempt.intent_id = intent.id and attempt.nonce = intent.nonce
)
update intent set state = 'void', nonce = null, spent_block = null, spent_hash = null,
                  halt_kind = null, halt_reason = null, halted_at = null,
                  wait_kind = null, wait_reason = null, waiting_since = null,
                  ended_because = coalesce((select 'cancelled: ' || reason from cancelled), $2)
where id = $1 and state in ('queued', 'pending');

-- name: forget_queued
-- Drops the intents of a queue for which nothing was ever signed.
delete from intent i where i.queue = $1 and i.state = 'queued'
  and not exists (select 1 from attempt a where a.intent_id = i.id);

-- name: void_queued
-- Ends the intents of a queue that are not signed for now.
update intent set state = 'void', halt_kind = null, halt_reason = null, halted_at = null,
                  wait_kind = null, wait_reason = null, waiting_since = null,
                  ended_because = 'a later run of the command decides anew'
where queue = $1 and state = 'queued';

-- name: halt
-- It stands still until an operator releases it. The first reason counts.
update intent set halt_kind = $2, halt_reason = $3, halted_at = now()
where id = $1 and halt_kind is null and state in ('queued', 'pending');

-- name: halts
-- What stands still in a queue, or in all ($1 null).
select queue, key, halt_kind, halt_reason, halted_at from intent
where halt_kind is not null and ($1::text is null or queue = $1) order by id;

-- name: release
-- Try again what stands still: in a queue ($1), of one intent ($2), or all where neither is given.
update intent set halt_kind = null, halt_reason = null, halted_at = null, failures = 0
where halt_kind is not null and ($1::text is null or queue = $1) and ($2::text is null or key = $2)
returning key;

-- name: lanes
-- Every queue with what is open in it.
select queue,
       count(*) filter (where state = 'queued') as queued,
       count(*) filter (where state = 'pending') as pending,
       count(*) filter (where state = 'confirmed') as confirmed,
       count(*) filter (where state = 'pending' and spent_block is not null) as waits_for_finality,
       min(created_at) filter (where state in ('queued', 'pending')) as waiting_since
from intent where state in ('queued', 'pending', 'confirmed') group by queue order by queue;

-- name: queue_standing
-- What stands still in a queue, in at least one row; why nothing is signed or sent in it, null when it
-- is not paused; when an operator last wanted something of what is in no block yet.
select p.reason as pause, i.key, i.halt_kind, i.halt_reason,
       (select max(made_at) from wish join intent on intent.id = wish.intent_id
        where intent.queue = $1 and intent.state = 'pending') as wish
from (values (1)) as one left join queue_pause p on p.queue = $1
left join intent i on i.queue = $1 and i.halt_kind is not null order by i.id;

-- name: note_waits
-- What some intents wait for (parallel arrays), since when it was first so.
update intent set wait_kind = new.kind, wait_reason = new.reason,
                  waiting_since = case when wait_kind = new.kind then waiting_since else now() end
from unnest($1::bigint[], $2::text[], $3::text[]) as new (id, kind, reason)
where intent.id = new.id and intent.state in ('queued', 'pending');

-- name: forget_waits
-- They wait for nothing more.
update intent set wait_kind = null, wait_reason = null, waiting_since = null
where wait_kind is not null and id = any($1::bigint[]);

-- name: note_look
-- A submitter has looked at its queue, and found this in its way. How many intents of the queue are in
-- each state but the last ones.
with noted as (
    insert into queue_look (queue, sender, max_fee, in_flight, ordered, problem)
    values ($1, $2, $3, $4, $5, $6)
    on conflict (queue) do update
    set sender = excluded.sender, max_fee = excluded.max_fee, in_flight = excluded.in_flight,
        ordered = excluded.ordered, problem = excluded.problem, seen_at = now()
)
select state, count(*) as number from intent
where queue = $1 and state in ('queued', 'pending', 'confirmed') group by state;

-- name: log_position
-- The block up to which a search has read, null when it never has.
select block from log_position where name = $1;

-- name: advance_log_position
-- A search has read up to this block.
insert into log_position (name, block) values ($1, $2)
on conflict (name) do update set block = greatest(log_position.block, excluded.block);

-- name: insert_seen_commits
-- Final commitments (parallel arrays), but for those that an intent or an adopted batch of ours
-- accounts for.
insert into seen_commit (batch_id, commitment, transaction, block_number)
select seen.* from unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[])
                   as seen (batch_id, commitment, transaction, block_number)
left join batch b on b.batch_id = seen.batch_id and b.commitment = seen.commitment
left join intent i on i.key = 'batch:' || b.batch_id
where b.batch_id is null or not (b.adopted or coalesce(i.state in ('confirmed', 'final'), false))
on conflict (batch_id) do nothing;

-- name: seen_commits
-- Final commitments that were found on chain, of some batches.
select batch_id, commitment, transaction, block_number from seen_commit
where batch_id = any($1::bigint[]);

-- name: unaccounted_commits
-- Final commitments of a lane ($1 first id, $2 last id) that the journal has not, or has otherwise.
select s.batch_id, s.commitment from seen_commit s left join batch b on b.batch_id = s.batch_id
where s.batch_id between $1 and $2 and (b.commitment is null or b.commitment <> s.commitment)
order by s.batch_id;

-- name: commitments_of
-- Ids and commitments of some batches.
select batch_id, commitment from batch where batch_id = any($1::bigint[]);

-- name: insert_delta
-- What a batch changes for its devices, to be folded later.
insert into batch_delta (batch_id, delta) values ($1, $2);

-- name: unfolded_deltas
-- The deltas that are not folded; without the content of those that the caller holds ($1).
select batch_id, case when batch_id <> all($1::bigint[]) then delta end as delta
from batch_delta order by batch_id;

-- name: lock_folds
-- One fold at a time, until this transaction ends.
select pg_advisory_xact_lock(hashtextextended('corechain fold', 0));

-- name: newest_delta
-- The newest of the batches $1 to $2 that is not folded, null when all are.
select max(batch_id) from batch_delta where batch_id between $1 and $2;

-- name: oldest_deltas
-- The oldest deltas of the batches $1 to $2, $3 at most.
select batch_id, delta from batch_delta where batch_id between $1 and $2
order by batch_id limit $3;

-- name: drop_deltas
-- They are folded.
delete from batch_delta where batch_id = any($1::bigint[]);

-- name: join_sharing
-- Counts this connection among the aggregators that share the lanes, while it lives.
select pg_advisory_lock_shared(hashtextextended($1, 0));

-- name: sharing_members
-- All of them, the same order for all. A 64-bit key is two words in pg_locks, with objsubid 1.
select pid, pid = pg_backend_pid() as mine from pg_locks
where locktype = 'advisory' and objsubid = 1 and granted
  and database = (select oid from pg_database where datname = current_database())
  and ((classid::bigint << 32) | objid::bigint) = hashtextextended($1, 0)
order by pid;

-- name: claim_lane
-- Whether the lane is this connection's now.
select pg_try_advisory_lock(hashtextextended($1, 0));

-- name: release_lane
-- Somebody else may claim it.
select pg_advisory_unlock(hashtextextended($1, 0));

-- name: backup_tables
-- All tables but the list of migrations, and those that each refers to.
select t.relname as name,
       coalesce(array_agg(r.relname) filter (where r.relname is not null), '{}') as needs
from pg_class t
left join pg_constraint c on c.conrelid = t.oid and c.contype = 'f'
left join pg_class r on r.oid = c.confrelid
where t.relkind = 'r' and t.relnamespace = current_schema()::regnamespace
  and t.relname <> 'migration'
group by t.relname order by t.relname;

-- name: backup_columns
-- The columns of a table that are written, in their order.
select attname as name from pg_attribute
where attrelid = to_regclass($1) and attnum > 0 and not attisdropped and attgenerated = ''
order by attnum;

-- name: backup_identities
-- The identity columns of a table, and the sequences that they are drawn from.
select attname as name, pg_get_serial_sequence(quote_ident($1), attname) as sequence
from pg_attribute where attrelid = to_regclass($1) and attidentity <> '' and not attisdropped;

-- name: backup_batches
-- Commitments of all batches.
select batch_id, commitment from batch;

-- name: note_costs
-- Receipts of our transactions (parallel arrays: hash, wei as text), each counted once. A reorg that
-- changes what one cost is not counted again. What is in a block was sent, though the process died
-- before it could say so: after a reorg it may be in a pool, and its nonce is nobody else's.
with noted as (
    update attempt set cost = new.wei::numeric, sent_at = coalesce(sent_at, signed_at)
    from unnest($2::bytea[], $3::text[]) as new (hash, wei)
    where attempt.hash = new.hash and attempt.cost is null
    returning attempt.cost
)
insert into spending (queue, hour, wei, transactions)
select $1, date_trunc('hour', now()), sum(cost), count(*) from noted having count(*) > 0
on conflict (queue, hour) do update
set wei = spending.wei + excluded.wei, transactions = spending.transactions + excluded.transactions;

-- name: spent_in_a_day
-- Wei that a queue's transactions have cost in the last 24 hours, by whole hours, as text.
select coalesce(sum(wei), 0)::text from spending
where queue = $1 and hour > now() - interval '24 hours';

-- name: newest_batches
-- Of each lane the newest batch.
select max(batch_id) as batch_id from batch group by batch_id >> 32;

-- name: batches_beyond
-- All batches but those that are of one of some lanes and not newer than its batch here ($1).
select commitment from batch where not exists (
    select from unnest($1::bigint[]) as known
    where known >> 32 = batch.batch_id >> 32 and batch.batch_id <= known
);

-- name: note_demanded_report
-- A report that is put on the bus again; those of demands that are long closed go.
with old as (delete from demanded_report where at < now() - interval '90 days' and demand_id <> $1)
insert into demanded_report (demand_id, report_key, public_key, searched) values ($1, $2, $3, $4)
on conflict (demand_id) do update set searched = excluded.searched, at = now();

-- name: demanded_reports
-- Those of some reports that are demanded, and where they are not.
select distinct on (report_key) report_key, searched from demanded_report
where report_key = any($1::bytea[]) order by report_key, at desc;

-- name: demanded_keys
-- What demands say of the keys of some devices.
select distinct substring(report_key from 1 for 20) as device, public_key from demanded_report
where public_key is not null and substring(report_key from 1 for 20) = any($1::bytea[]);

-- name: final_batches
-- Those of some batches ($1 commitments) whose commit is final: their blocks, and whether the commit of a
-- later one in their word of the ring ($2 words) is final, too.
select b.commitment, b.batch_id, coalesce(b.block_number, i.block_number) as block_number, exists (
    select 1 from generate_series(
        b.batch_id + $2::bigint,
        (select max(batch_id) from batch where batch_id <= b.batch_id | 4294967295),
        $2::bigint
    ) as later (batch_id)
    join batch n using (batch_id)
    left join intent f on f.key = 'batch:' || n.batch_id and f.state = 'final'
    where coalesce(n.block_number, f.block_number) is not null
) as is_written_over
from batch b left join intent i on i.key = 'batch:' || b.batch_id and i.state = 'final'
where b.commitment = any($1::bytea[]) and coalesce(b.block_number, i.block_number) is not null;

-- name: insert_rests
-- Keeps what a batch rests on ($1 batch, $2 devices), and forgets it of batches that are final.
with forgotten as (
    delete from batch_rests r using intent i
    where i.key = 'batch:' || r.batch_id and i.state = 'final'
)
insert into batch_rests (batch_id, devices) values ($1, $2);

-- name: rests_of
-- What some batches rest on.
select batch_id, devices from batch_rests where batch_id = any($1::bigint[]);

-- name: drop_rests
-- These batches rest on nothing that a reorg could take away.
delete from batch_rests where batch_id = any($1::bigint[]);

-- name: final_view
-- How far a view ($1 name, $2 chain, $3 contract) was read, and whether somebody else than $4 reads on, whose
-- session is there. Behind a pooler it stays.
select id, first_block, block, block_hash, logs,
       reader <> $4 and reads_until > now()
       and (reader_pid is null or exists (select from pg_stat_activity where pid = reader_pid)) as is_being_read
from final_view where name = $1 and chain_id = $2::text::numeric and contract = $3;

-- name: final_logs
-- The next $4 logs of a view after log $3 of block $2, in order.
select block_number, log_index, block_hash, transaction, topics, data from final_log
where view_id = $1 and (block_number, log_index) > ($2, $3) order by block_number, log_index limit $4;

-- name: count_final_logs
-- How many logs of a view there are.
select count(*) from final_log where view_id = $1;

-- name: final_log_blocks
-- Number and hash of each block that a kept log is of, oldest first.
select distinct block_number, block_hash from final_log where view_id = $1 order by block_number;

-- name: begin_final_view
-- Keeps a view for the first time: from block $8 to block $4 with hash $5, with $6 logs, read by $7 who goes
-- on for $9 seconds. Null where somebody else was first.
insert into final_view
    (name, chain_id, contract, first_block, block, block_hash, logs, reader, reads_until, reader_pid)
values ($1, $2::text::numeric, $3, $8, $4, $5, $6, $7, now() + $9 * interval '1 second', pg_backend_pid())
on conflict (name, chain_id, contract) do nothing returning id;

-- name: advance_final_view
-- Goes on with a view that stands at block $8 with hash $9, to block $4 with hash $5, by $6 logs. Null where
-- it does not stand there any more, or somebody else than $7 reads on.
update final_view
set block = $4, block_hash = $5, logs = logs + $6, reader = $7,
    reads_until = now() + $10 * interval '1 second', reader_pid = pg_backend_pid()
where name = $1 and chain_id = $2::text::numeric and contract = $3 and block = $8 and block_hash = $9
  and (reader = $7 or reads_until < now()
       or reader_pid is not null and not exists (select from pg_stat_activity where pid = reader_pid))
returning id;

-- name: insert_final_logs
-- Logs of a view (parallel arrays).
insert into final_log
    (view_id, block_number, log_index, block_hash, transaction, topics, data, subject)
select $1, * from unnest($2::bigint[], $3::int[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[],
                         $8::bytea[]);

-- name: lock_final_view
-- A view, which stays as it is until this transaction ends.
select id, block from final_view
where name = $1 and chain_id = $2::text::numeric and contract = $3 for update;

-- name: add_final_logs
-- Logs of a view that had been left out (parallel arrays); those that are there stay.
with added as (
    insert into final_log
        (view_id, block_number, log_index, block_hash, transaction, topics, data, subject)
    select $1, * from unnest($2::bigint[], $3::int[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[],
                             $8::bytea[])
    on conflict do nothing returning 1)
update final_view set logs = logs + (select count(*) from added) where id = $1;

-- name: drop_spent_logs
-- Drops the logs of a view about what has ended.
with gone as (delete from final_log where view_id = $1 and subject = any($2::bytea[]) returning 1)
update final_view set logs = logs - (select count(*) from gone) where id = $1;

-- name: cut_final_view
-- Goes back with a view that stands at block $2 with hash $3, to block $4 with hash $5.
update final_view
set block = $4, block_hash = $5, reads_until = now(),
    logs = (select count(*) from final_log where view_id = $1 and block_number <= $4)
where id = $1 and block = $2 and block_hash = $3 returning id;

-- name: cut_final_logs
-- Drops the logs of a view after a block.
delete from final_log where view_id = $1 and block_number > $2;

-- name: drop_final_view
-- Forgets a view that stands at block $2 with hash $3, with its logs.
delete from final_view where id = $1 and block = $2 and block_hash = $3;

-- name: forget_final_logs
-- Drops the logs of a view before a block.
with gone as (delete from final_log where view_id = $1 and block_number < $2 returning 1)
update final_view set first_block = $2, logs = logs - (select count(*) from gone)
where id = $1 and first_block < $2 and $2 <= block + 1;
