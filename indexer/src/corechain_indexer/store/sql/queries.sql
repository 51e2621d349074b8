-- name: cursor
select number, hash from block order by number desc limit 1

-- name: unfinal_blocks
-- Newest first, down to and with the newest final one: where a fork is looked for.
select number, hash from block
 where number >= coalesce((select max(number) from block where final), 0) order by number desc

-- name: oldest_block
select number, hash from block order by number limit 1

-- name: settle_blocks
-- Marks the newest block up to a final one as final and drops those below it, unless another hash than ours is
-- called final: then our branch is gone, and where it left the other has still to be found.
with newest as (
    select max(number) as number from block
     where number <= $1 and not exists (select from block where number = $1 and hash <> $2)),
  marked as (
    update block b set final = true from newest n where b.number = n.number and not b.final)
delete from block b using newest n
 where b.number < n.number and b.number <> (select min(number) from block)

-- name: move_marks
-- After `settle_blocks`. A safe block of another branch than ours says nothing of ours.
update chain_mark m
   set final = greatest(m.final, told.final), safe = greatest(m.safe, m.final, told.final, told.safe)
  from (select coalesce((select max(number) from block where final), -1) as final,
               coalesce((select max(number) from block
                          where number <= $1 and not exists (select from block where number = $1 and hash <> $2)),
                        -1) as safe) told
 where m.final < told.final or m.safe < greatest(told.final, told.safe)

-- name: marks
-- The newest mirrored block, and those that count as safe and as final.
select coalesce((select max(number) from block), -1) as indexed, safe, final from chain_mark

-- name: roll_back
-- Everything after a block, in one statement; foreign keys take what hangs on it.
with b as (delete from block where number > $1),
     m as (update chain_mark set safe = least(safe, $1), final = least(final, $1)),
     e as (delete from event where block_number > $1),
     d as (delete from device_event where block_number > $1),
     f as (delete from fleet_device where block_number > $1),
     r as (delete from root_event where block_number > $1),
     c as (delete from claim_event where block_number > $1),
     p as (delete from payment_channel where block_number > $1),
     q as (delete from payment_event where block_number > $1),
     s as (delete from state_channel_event where block_number > $1)
delete from batch where block_number > $1 returning batch_id

-- name: outbox
-- What a sink has to be told next. `standing`: the very batch is verified, now.
select o.id, o.kind, o.batch_id, o.commitment, f.batch_id is not null as standing,
       f.reading_count, f.window_start, f.window_end
  from outbox o
  left join batch b on b.batch_id = o.batch_id and b.commitment = o.commitment
  left join batch_file f on f.batch_id = b.batch_id and f.state = 'verified'
 where o.sink = $1 order by o.id limit $2

-- name: emitted
delete from outbox where id = $1

-- name: series_behind
-- Whether the series database has still to learn something, or another one was filled.
select exists (select from outbox where sink = 'series') or target <> $1 from sink where name = 'series'

-- name: new_generation
-- From now on nothing that was cached before is trusted.
update sink set generation = gen_random_uuid() where name = 'cache' returning generation

-- name: sink_target
select target from sink where name = $1

-- name: set_sink_target
update sink set target = $2 where name = $1

-- name: forget_pending
delete from outbox where sink = $1

-- name: add_all
-- Everything from the beginning, for a store that was not the one before.
insert into outbox (sink, kind, batch_id, commitment)
select $1, 'add', batch_id, b.commitment from batch_file f join batch b using (batch_id)
 where f.state = 'verified' order by batch_id

-- name: all_stale
-- Every device that has data, each by one look into the index.
with recursive d (device) as (
    (select device from reading order by device limit 1)
    union all
    select (select r.device from reading r where r.device > d.device order by r.device limit 1)
      from d where d.device is not null)
insert into stale_device (device)
select d.device from d
 where d.device is not null and not exists (select from stale_device s where s.device = d.device)

-- name: stale_devices
select id, device from stale_device order by id limit $1

-- name: refreshed
delete from stale_device where id = any($1::bigint[])

-- name: cache_check
-- Whether cached values of a device from some batches may be served. All of it by index.
select s.generation,
       exists (select from stale_device where device = $1) as stale,
       exists (select from outbox where sink = 'cache') as behind,
       (select count(*) from batch_file where batch_id = any($2::bigint[]) and state = 'verified') as standing,
       (select json_object_agg(b.batch_id, finality_of(b.block_number, m.safe, m.final))
          from batch b cross join chain_mark m where b.batch_id = any($2::bigint[])) as finality
  from sink s where s.name = 'cache'

-- name: newest_readings
-- The newest reading of each device and metric, of batches up to a block: one look into the index each, and more
-- where the newest are of later blocks.
select d.device, c.metric, n.observed_at, n.value, n.flag, n.batch_id, n.position, n.cell,
       finality_of(b.block_number, m.safe, m.final) as finality
  from unnest($1::bytea[]) d(device) cross join unnest($2::integer[]) c(metric)
 cross join lateral (
       select observed_at, value, flag, batch_id, position, cell from reading r
        where r.device = d.device and r.metric = c.metric
          and ($3::bigint is null
               or exists (select from batch e where e.batch_id = r.batch_id and e.block_number <= $3))
        order by observed_at desc, batch_id desc, position desc limit 1) n
  join batch b on b.batch_id = n.batch_id cross join chain_mark m
 order by d.device, c.metric

-- name: open_batches
-- Batches whose data file is still to be fetched, besides those under way: new ones first, then those
-- that have waited longest, so that files that never come do not keep the others from being looked for.
-- Each half is cut before the join: else the planner may merge with an index of all batches.
select o.batch_id, b.commitment, b.block_hash, o.attempts
  from ((select batch_id, 0 as attempts, null::timestamptz as due from unjudged_batch
          where batch_id <> all($2::bigint[]) order by batch_id limit $1)
        union all
        (select batch_id, attempts, next_attempt_at from batch_file
          where state = 'withheld' and next_attempt_at <= now() and batch_id <> all($2::bigint[])
          order by next_attempt_at, batch_id limit $1)
         order by due nulls first, batch_id limit $1) o
  join batch b using (batch_id)
 order by o.due nulls first, o.batch_id

-- name: withhold
-- Here and below the batch's row is locked: a rollback of its block comes before or after, never in between.
insert into batch_file (batch_id, state, reason, next_attempt_at)
select batch_id, 'withheld', $3, now() + make_interval(secs => $4)
  from batch where batch_id = $1 and block_hash = $2 for key share
    on conflict (batch_id) do update
   set reason = excluded.reason, attempts = batch_file.attempts + 1,
       next_attempt_at = excluded.next_attempt_at, settled_at = now()
 where batch_file.state = 'withheld'

-- name: mismatch
insert into batch_file (batch_id, state, reason)
select batch_id, 'mismatch', $3
  from batch where batch_id = $1 and block_hash = $2 for key share
    on conflict (batch_id) do update
   set state = 'mismatch', reason = excluded.reason, next_attempt_at = null, settled_at = now()
 where batch_file.state = 'withheld'

-- name: verified
-- Returns the batch id when the batch is not settled and still stands in the very block as of which it was judged.
insert into batch_file (batch_id, state, previous, ancestor, statistics_root, reports_root, data_hash,
                        rules_hash, reading_count, report_count, rejected_count, window_start, window_end,
                        readings_root, leaves, tree_levels)
select batch_id, 'verified', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
  from batch where batch_id = $1 and block_hash = $2 for key share
    on conflict (batch_id) do update
   set state = 'verified', reason = null, next_attempt_at = null, settled_at = now(),
       previous = excluded.previous, ancestor = excluded.ancestor,
       statistics_root = excluded.statistics_root, reports_root = excluded.reports_root,
       data_hash = excluded.data_hash, rules_hash = excluded.rules_hash,
       reading_count = excluded.reading_count, report_count = excluded.report_count,
       rejected_count = excluded.rejected_count, window_start = excluded.window_start,
       window_end = excluded.window_end, readings_root = excluded.readings_root,
       leaves = excluded.leaves, tree_levels = excluded.tree_levels
 where batch_file.state = 'withheld'
returning batch_id

-- name: registered_devices
-- What counted as a device's key type at the end of the block of a batch: the device's own slot, else the first
-- fleet that lists it. Later events change nothing. One statement, so that all of it is of one chain: no row at
-- all when the batch does not stand in that block (any more), else one at least.
select said.device, said.key_type
  from batch b
  left join lateral (
       select distinct on (device) device, key_type
         from (select device, key_type, 0 as source, block_number, log_index from device_event
                where device = any($3::bytea[]) and kind in ('registered', 'materialised')
                  and block_number <= b.block_number
                union all
               select device, key_type, 1, block_number, log_index from fleet_device
                where device = any($3::bytea[]) and block_number <= b.block_number) r
        order by device, source, block_number, log_index) said on true
 where b.batch_id = $1 and b.block_hash = $2

-- name: next_epoch
-- The oldest proposal that was not recomputed yet. Vetoed ones are judged, too: whether the veto or the judge
-- came first must make no difference.
select p.block_number, p.log_index, p.epoch, p.root, p.through_block, p.emission, e.block_hash
  from root_event p join event e using (block_number, log_index)
  left join reward_epoch w using (block_number, log_index)
 where p.kind = 'proposed' and w.block_number is null
 order by p.block_number, p.log_index limit 1

-- name: unsettled_through
-- Whether the data of a batch up to a block is not verified: an epoch over it cannot be recomputed.
select exists (select from unjudged_batch where block_number <= $1)
    or exists (select from batch_file f
                where f.state <> 'verified'
                  and (select block_number from batch b where b.batch_id = f.batch_id) <= $1)

-- name: epoch_before
-- The proposal of an epoch that stood at a place: the last one before it, unless it was vetoed by then.
select p.block_number, p.log_index, p.through_block, w.state
  from root_event p left join reward_epoch w using (block_number, log_index)
 where p.kind = 'proposed' and p.epoch = $1 and (p.block_number, p.log_index) < ($2, $3)
   and not exists (select from root_event v
                    where v.kind = 'vetoed' and v.epoch = p.epoch
                      and (v.block_number, v.log_index) > (p.block_number, p.log_index)
                      and (v.block_number, v.log_index) < ($2, $3))
 order by p.block_number desc, p.log_index desc limit 1

-- name: leaves_between
select f.leaves from batch b join batch_file f using (batch_id)
 where b.block_number > $1 and b.block_number <= $2 and f.state = 'verified' order by b.batch_id

-- name: owners_at
-- Who owned which device at the end of a block: the last word of its own slot, else the first fleet that lists it.
select distinct on (device) device, owner
  from (select device, owner, 0 as source, -block_number as block_order, -log_index as log_order
          from device_event
         where block_number <= $1 and kind in ('registered', 'materialised', 'transferred')
         union all
        select device, owner, 1, block_number, log_index from fleet_device where block_number <= $1) said
 order by device, source, block_order, log_order

-- name: epoch_leaves
select owner, cumulative from reward_leaf where block_number = $1 and log_index = $2 order by position

-- name: settle_epoch
-- Only while the very event stands that was judged: another block may have another root at the same place.
insert into reward_epoch (block_number, log_index, epoch, state)
select p.block_number, p.log_index, p.epoch, $4
  from root_event p join event e using (block_number, log_index)
 where p.block_number = $1 and p.log_index = $2 and e.block_hash = $3 for key share of p
    on conflict do nothing returning epoch

-- name: state_counts
select state, sum(batches)::bigint as count, sum(readings)::bigint as readings, sum(rejected)::bigint as rejected
  from tally group by state having sum(batches) > 0

-- name: fold_tally
-- The changes of before as one row a state. By one caller at a time: the mirror.
with gone as (delete from tally returning state, batches, readings, rejected)
insert into tally (state, batches, readings, rejected)
select state, sum(batches), sum(readings), sum(rejected) from gone group by state

-- name: devices_page
-- The ids first, each half from its index: the view as a whole would be sorted for each page. `offset 0` keeps the
-- planner from joining the page with the whole view after all.
select d.device, d.owner, d.key_type, d.revoked, d.revoked_at, d.block_number,
       finality_of(d.block_number, m.safe, m.final) as finality
  from (select device
          from ((select distinct device from device_event
                  where device > $1 and kind in ('registered', 'materialised') order by device limit $2)
                union
                (select distinct device from fleet_device where device > $1 order by device limit $2)) known
         order by device limit $2) page
 cross join lateral (select * from device where device = page.device offset 0) d
 cross join chain_mark m
 order by d.device limit $2

-- name: device
select device, owner, key_type, revoked, revoked_at, block_number,
       finality_of(block_number, m.safe, m.final) as finality
  from device cross join chain_mark m where device = $1

-- name: batches_page
select b.batch_id, b.commitment, b.block_number, b.transaction, coalesce(f.state, 'pending') as state, f.reason,
       f.previous, f.ancestor, f.statistics_root, f.reports_root, f.data_hash, f.rules_hash, f.reading_count,
       f.report_count, f.rejected_count, f.window_start, f.window_end, f.readings_root,
       finality_of(b.block_number, m.safe, m.final) as finality
  from batch b left join batch_file f using (batch_id) cross join chain_mark m
 where b.batch_id > $1 and ($3::text is null or coalesce(f.state, 'pending') = $3)
   and ($4::bigint is null or b.block_number <= $4)
 order by b.batch_id limit $2

-- name: batch_leaves
select f.leaves, f.readings_root, b.commitment from batch b join batch_file f using (batch_id)
 where b.batch_id = $1 and f.state = 'verified'

-- name: tree_levels
-- Leaves only where the levels must be made from them.
select f.batch_id, b.commitment, f.reading_count, f.tree_levels,
       case when f.tree_levels is null then f.leaves end as leaves
  from batch b join batch_file f using (batch_id)
 where f.batch_id = any($1::bigint[]) and f.state = 'verified'

-- name: batches_without_levels
select batch_id, readings_root, leaves from batch_file
 where state = 'verified' and tree_levels is null order by batch_id limit $1

-- name: fill_levels
-- The root says that the leaves are still those from which the levels were made.
update batch_file set tree_levels = $3 where batch_id = $1 and readings_root = $2

-- name: leaf_blocks
-- $3 bytes each, fewer at a batch's end; none for a batch that is not verified (any more).
select f.batch_id, w.block, b.commitment, substring(f.leaves from 1 + w.block * $3::integer for $3::integer) as leaves
  from unnest($1::bigint[], $2::integer[]) as w (batch_id, block)
  join batch_file f using (batch_id) join batch b using (batch_id)
 where f.state = 'verified'

-- name: rejections_page
select ordinal, device, sequence, metric, cell, observed_at, value, reasons from rejection
 where batch_id = $1 and ordinal > $2::bigint order by ordinal limit $3

-- name: readings_page
-- Of batches up to a block. A cursor may name any 64 bits, whatever its column holds.
select r.*, finality_of(b.block_number, m.safe, m.final) as finality
  from (
select batch_id, position, metric, cell, device, observed_at, value, flag from reading
 where ($1::bytea is null or device = $1) and ($2::integer is null or metric = $2)
   and observed_at >= $3 and observed_at <= $4
   and (device, metric, observed_at, batch_id, position) > ($5, $6::bigint, $7, $8, $9::bigint)
   and ($11::bigint is null
        or exists (select from batch e where e.batch_id = reading.batch_id and e.block_number <= $11))
 order by device, metric, observed_at, batch_id, position limit $10) r
  join batch b using (batch_id) cross join chain_mark m
 order by r.device, r.metric, r.observed_at, r.batch_id, r.position

-- name: batches_in_window
-- Verified batches that can hold readings observed in a window.
select batch_id from batch_file
 where state = 'verified' and window_end >= $1 and window_start <= $2 order by batch_id limit $3

-- name: batches_with
-- Of those, the ones that hold readings of the device and metric, up to a block.
select distinct batch_id from rollup
 where device = $1 and metric = $2 and hour >= $3 and hour <= $4
   and ($6::bigint is null
        or exists (select from batch e where e.batch_id = rollup.batch_id and e.block_number <= $6))
 order by batch_id limit $5

-- name: headers_between
select b.batch_id, b.commitment, b.block_number, b.transaction, f.state, f.reason,
       f.previous, f.ancestor, f.statistics_root, f.reports_root, f.data_hash, f.rules_hash, f.reading_count,
       f.report_count, f.rejected_count, f.window_start, f.window_end, f.readings_root,
       finality_of(b.block_number, m.safe, m.final) as finality
  from batch b join batch_file f using (batch_id) cross join chain_mark m
 where b.batch_id between $1 and $2 and f.state = 'verified' order by b.batch_id

-- name: headers_of
-- The headers of some verified batches.
select b.batch_id, b.commitment, b.block_number, b.transaction, f.state, f.reason,
       f.previous, f.ancestor, f.statistics_root, f.reports_root, f.data_hash, f.rules_hash, f.reading_count,
       f.report_count, f.rejected_count, f.window_start, f.window_end, f.readings_root
  from batch b join batch_file f using (batch_id)
 where b.batch_id = any($1::bigint[]) and f.state = 'verified' order by b.batch_id

-- name: cells_of
select distinct cell from reading where device = $1 and metric = $2 and observed_at >= $3 and observed_at <= $4
 order by cell limit 16

-- name: series
-- Buckets of whole hours from the rollup, of batches up to a block.
select hour - mod(hour, $5::bigint) as bucket, sum(count)::bigint as count, sum(sum)::bigint as sum,
       min(min) as min, max(max) as max
  from rollup where device = $1 and metric = $2 and hour >= $3 and hour <= $4
   and ($7::bigint is null
        or exists (select from batch e where e.batch_id = rollup.batch_id and e.block_number <= $7))
 group by 1 order by 1 limit $6

-- name: epochs
select e.epoch, e.root, e.through_block, e.emission, e.active_at, e.block_number, coalesce(w.state, 'pending') as state,
       finality_of(e.block_number, m.safe, m.final) as finality
  from epoch e left join reward_epoch w using (block_number, log_index) cross join chain_mark m
 where e.epoch > $1 order by e.epoch limit $2

-- name: claimable
-- The newest verified epoch whose window has passed at a time (seconds).
select e.epoch, e.root, e.block_number, e.log_index from epoch e join reward_epoch w using (block_number, log_index)
 where w.state = 'verified' and e.active_at <= $1 order by e.epoch desc limit 1

-- name: claimed
select coalesce(max(cumulative), 0) as claimed from claim_event where owner = $1

-- name: payment_channels
select * from payment_balance where ($1::bytea is null or payer = $1) and channel_id > $2 order by channel_id limit $3

-- name: payment_channel
select * from payment_balance where channel_id = $1

-- name: state_channel
select * from state_channel where channel_id = $1

-- name: lock_voucher
select amount, charged from voucher where channel_id = $1 for update

-- name: held_voucher
select amount, charged, signature from voucher where channel_id = $1

-- name: begin_voucher
-- A row to lock for a channel's first payment, charged what the chain has claimed.
insert into voucher (channel_id, amount, charged, signature, config, queries) values ($1, $2, $2, '', '', 0)
    on conflict (channel_id) do nothing

-- name: charge_voucher
update voucher set amount = $2, charged = $2, signature = $3, config = $4, queries = queries + 1, updated_at = now()
 where channel_id = $1

-- name: keep_answer
insert into paid_answer (channel_id, amount, payment_id, query, body, receipt) values ($1, $2, $3, $4, $5, $6)
    on conflict (channel_id) do update
   set amount = excluded.amount, payment_id = excluded.payment_id, query = excluded.query, body = excluded.body,
       receipt = excluded.receipt, answered_at = now()

-- name: kept_answer
select body, receipt from paid_answer
 where channel_id = $1 and amount = $2 and payment_id = $3 and query = $4

-- name: forget_answers
delete from paid_answer where answered_at < now() - make_interval(secs => $1)

-- name: deposited
-- All that was ever deposited into a channel, on the mirrored chain.
select coalesce(sum(amount), 0) from payment_event where channel_id = $1 and kind = 'deposited'

-- name: begin_deposit
insert into deposit_attempt (payment, channel_id, before) values ($1, $2, $3) on conflict (payment) do nothing
returning before

-- name: begun_deposit
select before from deposit_attempt where payment = $1

-- name: forget_deposits
delete from deposit_attempt where begun_at < now() - make_interval(secs => $1)

-- name: vouchers
-- Vouchers on which more is charged than is claimed on the mirrored chain.
select v.channel_id, v.amount, v.charged, v.signature, v.config, v.queries, p.claimed
  from voucher v join payment_balance p using (channel_id)
 where v.charged > p.claimed order by v.channel_id

-- name: endangered_vouchers
-- Channels of which the payer withdraws what covers charged queries, the most urgent first.
select v.channel_id, v.charged - greatest(p.claimed, p.balance - p.withdrawing) as amount,
       (select w.total from payment_event w where w.channel_id = v.channel_id and w.kind = 'withdrawing'
         order by w.block_number desc, w.log_index desc limit 1) as finalize_after
  from voucher v join payment_balance p using (channel_id)
 where v.channel_id in (select channel_id from payment_event where kind = 'withdrawing')
   and p.withdrawing > 0 and v.charged > greatest(p.claimed, p.balance - p.withdrawing)
 order by finalize_after limit 100

-- name: audit_events
-- In the order of their columns, as the mirror makes them of logs.
select block_number, log_index, block_hash, transaction, address, topics, data from event
 where block_number between $1 and $2 order by block_number, log_index

-- name: audit_blocks
-- Without the very first: its hash is the one that its child names (an anvil of a saved state serves another).
select number, hash from block
 where number between $1 and $2 and number <> (select min(number) from block) order by number

-- name: audit_batches
select b.batch_id, b.commitment, f.previous, f.ancestor, f.statistics_root, f.reports_root, f.data_hash, f.rules_hash,
       f.reading_count, f.report_count, f.window_start, f.window_end, f.readings_root, f.leaves, f.tree_levels
  from batch b join batch_file f using (batch_id)
 where f.state = 'verified' and b.block_number between $1 and $2 and b.batch_id > $3 order by b.batch_id limit $4

-- name: audit_readings
select batch_id, position, metric, cell, device, observed_at, value, flag from reading where batch_id = $1

-- name: audit_rollups
select batch_id, device, metric, hour, count, sum, min, max from rollup where batch_id = $1
