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
       leaves = excluded.leaves, tree_levels = excluded.tree_levels, archived = null
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

-- name: batch_leaves
select f.leaves, case when f.leaves is null then packed_blocks(f.batch_id, 0, 2147483647) end as packed,
       f.archived, f.readings_root, b.commitment
  from batch b join batch_file f using (batch_id) where b.batch_id = $1 and f.state = 'verified'

-- name: tree_levels
-- Leaves only where the levels must be made from them.
select f.batch_id, b.commitment, f.reading_count, f.tree_levels, f.archived,
       case when f.tree_levels is null then f.leaves end as leaves
  from batch b join batch_file f using (batch_id)
 where f.batch_id = any($1::bigint[]) and f.state = 'verified'

-- name: batches_without_levels
select batch_id, readings_root, leaves from batch_file
 where state = 'verified' and tree_levels is null and archived is null order by batch_id limit $1

-- name: fill_levels
-- The root says that the leaves are still those from which the levels were made.
update batch_file set tree_levels = $3 where batch_id = $1 and readings_root = $2

-- name: leaf_blocks
-- $3 bytes each, $4 of them in a packed block; fewer at a batch's end; none for a batch that is not verified (any more).
select f.batch_id, w.block, b.commitment, substring(f.leaves from 1 + w.block * $3::integer for $3::integer) as leaves,
       case when f.leaves is null then packed_blocks(f.batch_id, w.block / $4::integer, w.block / $4::integer)
        end as packed, f.archived
  from unnest($1::bigint[], $2::integer[]) as w (batch_id, block)
  join batch_file f using (batch_id) join batch b using (batch_id)
 where f.state = 'verified'

-- name: packable
-- Batches that can never be undone, and were verified so many seconds ago; oldest first. Their trees' upper levels are
-- there: what is made from leaves is made before they are packed.
select f.batch_id, f.readings_root, f.leaves
  from batch_file f join batch b using (batch_id) cross join chain_mark m
 where f.state = 'verified' and f.leaves is not null and f.tree_levels is not null
   and f.settled_at <= now() - make_interval(secs => $1) and b.block_number <= m.final
 order by f.settled_at limit $2

-- name: take_leaves
update batch_file set leaves = null
 where batch_id = $1 and readings_root = $2 and state = 'verified' and leaves is not null returning batch_id

-- name: archivable
-- Batches that can never be undone and are packed, and whose window ended $1 seconds ago; oldest first. What the cache is
-- still to learn from their leaves it learns before.
select f.batch_id, f.readings_root, b.commitment, packed_blocks(f.batch_id, 0, 2147483647) as packed, f.tree_levels
  from batch_file f join batch b using (batch_id) cross join chain_mark m
 where f.state = 'verified' and f.leaves is null and f.archived is null
   and f.tree_levels is not null
   and f.window_end <= extract(epoch from now())::bigint - $1::bigint and b.block_number <= m.final
   and not exists (select from outbox o where o.sink = 'cache' and o.batch_id = f.batch_id)
 order by f.window_end limit $2

-- name: note_archived
update batch_file set archived = $3, tree_levels = null
 where batch_id = $1 and readings_root = $2 and state = 'verified' and leaves is null and archived is null
returning batch_id

-- name: forget_packed
delete from packed_leaves where batch_id = $1
