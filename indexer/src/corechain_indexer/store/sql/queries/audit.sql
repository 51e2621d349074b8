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
       f.reading_count, f.report_count, f.window_start, f.window_end, f.readings_root, f.leaves, f.tree_levels,
       case when f.leaves is null then packed_blocks(f.batch_id, 0, 2147483647) end as packed, f.archived
  from batch b join batch_file f using (batch_id)
 where f.state = 'verified' and b.block_number between $1 and $2 and b.batch_id > $3 order by b.batch_id limit $4

-- name: audit_segments
select batch_id, cell, first_at, last_at, sum, position, count, metric, min, max, last, flag, device
  from segment where batch_id = $1 and count > 0
 union all
-- Merged readings, as they were before.
select r.batch_id, s.cell, r.observed_at, r.observed_at, r.value, r.position, 1, s.metric, r.value, r.value, r.value,
       r.flag, s.device
  from merged_batch g
  join segment s on s.count < 0 and s.last_at >= g.day * 86400 and s.last_at < (g.day + 1) * 86400
                and g.batch_id - s.batch_id = any(s.batch_steps)
 cross join lateral entries_of(s) r
 where g.batch_id = $1 and r.batch_id = $1

-- name: audit_merged_runs
-- Batches of merged rows that do not say of their readings what these are.
select distinct s.batch_id
  from segment s
 cross join lateral (
       select -count(*)::integer as count, min(observed_at) as first_at, max(observed_at) as last_at,
              sum(value)::bigint as sum, min(value) as min, max(value) as max,
              (array_agg(row (batch_id, position, value, flag) order by observed_at, batch_id, position))[count(*)] as newest,
              bool_and(exists (select from merged_batch g
                                where g.batch_id = r.batch_id and g.day = s.last_at / 86400)) as noted
         from entries_of(s) r) e
 where s.count < 0
   and ((s.count, s.first_at, s.last_at, s.sum, s.min, s.max, e.noted)
        is distinct from (e.count, e.first_at, e.last_at, e.sum, e.min, e.max, true)
        or row (s.batch_id, s.position, s.last, s.flag) is distinct from e.newest)
 order by s.batch_id

-- name: audit_stray_segments
-- Batches with segments that are not verified; each by one look into the index.
with recursive held (batch_id) as (
    (select batch_id from segment order by batch_id limit 1)
    union all
    select (select s.batch_id from segment s where s.batch_id > held.batch_id order by s.batch_id limit 1)
      from held where held.batch_id is not null)
select batch_id from held
 where batch_id is not null
   and not exists (select from batch_file f where f.batch_id = held.batch_id and f.state = 'verified')
 union
select batch_id from merged_batch g
 where not exists (select from batch_file f where f.batch_id = g.batch_id and f.state = 'verified')
