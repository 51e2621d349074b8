-- name: transactions
-- Intents ($1 queue, $2 states; null: any), the newest first: $4 at most, with ids below $3.
select i.id, i.key, i.queue, i.state, i.sender, i.nonce, i.transaction, i.block_number, i.gas_used,
       i.created_at, i.halt_kind, i.halt_reason, i.halted_at, i.wait_kind, i.wait_reason,
       i.waiting_since, i.ended_because, i.failures, i.spent_block, p.reason as paused,
       p.since as paused_since, c.reason as cancel, c.made_at as cancel_since,
       b.hash as bump, b.made_at as bump_since, b.reason as bump_reason,
       (select count(*) from attempt a where a.intent_id = i.id) as attempts
from intent i left join queue_pause p on p.queue = i.queue
left join wish c on c.intent_id = i.id and c.kind = 'cancel'
left join wish b on b.intent_id = i.id and b.kind = 'bump'
where ($1::text is null or i.queue = $1) and ($2::text[] is null or i.state = any($2))
  and i.id < $3::bigint
order by i.id desc limit $4;

-- name: transaction_named
-- The id of an intent by its key ($1), or by a transaction that was signed for it or did it ($2).
select id from intent where key = $1
union
select intent_id from attempt where hash = $2
union
select id from intent where transaction = $2 limit 1;

-- name: all_attempts
-- Everything that was signed for an intent, oldest first.
select hash, sender, nonce, max_fee, priority_fee, signed_at, sent_at, refused, cancels
from attempt where intent_id = $1 order by place;

-- name: lock_transaction
-- An intent that is not changed by anybody else until this transaction ends.
select id, key, queue, state, nonce from intent where id = $1 for update;

-- name: void_now
-- Ends an intent that nothing is signed for ($2: why).
update intent set state = 'void', ended_because = 'cancelled: ' || $2,
                  halt_kind = null, halt_reason = null, halted_at = null,
                  wait_kind = null, wait_reason = null, waiting_since = null
where id = $1 and state = 'queued';

-- name: wish_cancel
-- An operator wants a pending intent given up; a halt is over, as it says what to do now.
with released as (
    update intent set halt_kind = null, halt_reason = null, halted_at = null where id = $1
)
insert into wish (intent_id, kind, reason) values ($1, 'cancel', $2)
on conflict (intent_id, kind) do nothing;

-- name: wish_bump
-- An operator wants the newest transaction of a pending intent replaced; its hash.
insert into wish (intent_id, kind, hash, reason)
select a.intent_id, 'bump', a.hash, $2 from attempt a join intent i on i.id = a.intent_id
where a.intent_id = $1 and a.nonce = i.nonce and not a.refused
order by a.place desc limit 1
on conflict (intent_id, kind) do update
set hash = excluded.hash, reason = excluded.reason, made_at = now()
returning hash;

-- name: pause_queue
-- Nothing is signed or sent in a queue from now on. The first reason counts: the one that is kept,
-- and whether it is of an earlier pause (a row that is new has no xmax).
insert into queue_pause (queue, reason) values ($1, $2)
on conflict (queue) do update set reason = queue_pause.reason
returning reason, xmax::text <> '0' as was_paused;

-- name: resume_queue
-- Whether it was paused.
delete from queue_pause where queue = $1 returning queue;

-- name: paused_queues
-- Of one queue, or all: why each is paused, and since when.
select queue, reason, since from queue_pause where queue = $1 or $1::text is null order by queue;

-- name: known_queues
-- Every queue that has or had intents, a submitter or a pause.
select queue from intent union select queue from queue_look union select queue from queue_pause
order by queue;

-- name: ahead
-- Intents of a queue ($1) before one ($2) that are in no block yet: how many, and the first of them.
select count(*) over () as number, key, state, halt_kind, wait_kind from intent
where queue = $1 and id < $2 and state in ('queued', 'pending') order by id limit 1;

-- name: queue_look
-- The submitter of a queue, as of its last look.
select sender, max_fee, in_flight, ordered, problem,
       extract(epoch from now() - seen_at)::double precision as age_s
from queue_look where queue = $1;

-- name: nonce_owner
-- Whose transaction a nonce of a sender is.
select i.key, i.state from attempt a join intent i on i.id = a.intent_id
where a.sender = $1 and a.nonce = $2 and not a.refused and i.state <> 'void'
order by a.place desc limit 1;

-- name: queue_health
-- The oldest intent of a queue that is in no block, its age and what it waits for; the lowest nonce
-- that waits for a block; why and since when the queue is paused.
select oldest.key, oldest.wait_kind, oldest.wait_reason,
       extract(epoch from now() - oldest.created_at)::double precision as age_s,
       (select min(nonce) from intent where queue = $1 and state = 'pending') as nonce,
       p.reason as pause
from (values (1)) as one left join queue_pause p on p.queue = $1
left join (
    (select id, key, created_at, wait_kind, wait_reason from intent
     where queue = $1 and state = 'queued' order by id limit 1)
    union all
    (select id, key, created_at, wait_kind, wait_reason from intent
     where queue = $1 and state = 'pending' order by id limit 1)
) as oldest on true
order by oldest.id limit 1;

-- name: keep_balance
-- A sample of a key's balance ($2), unless there is one of the last $3 seconds; those older than $4
-- seconds go.
with old as (
    delete from balance_sample
    where sender = $1 and at < now() - make_interval(secs => $4::double precision)
)
insert into balance_sample (sender, balance)
select $1, $2 where not exists (
    select from balance_sample
    where sender = $1 and at > now() - make_interval(secs => $3::double precision)
);

-- name: balances
-- The samples of a key's balance, oldest first, with their ages in seconds.
select extract(epoch from now() - at)::double precision as age_s, balance from balance_sample
where sender = $1 order by at;
