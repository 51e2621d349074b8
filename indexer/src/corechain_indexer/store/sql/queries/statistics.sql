-- name: batches_in_window
-- Verified batches with readings observed in a window (seconds), or some before and some after it; up to a block.
select f.batch_id from batch_file f
 where f.state = 'verified' and f.window_end >= $1 and f.window_start <= $2
   and ($4::bigint is null
        or exists (select from batch e where e.batch_id = f.batch_id and e.block_number <= $4))
 order by f.batch_id limit $3

-- name: history_spans
-- The first and the last of those batches of each lane; committed in a block from $3 on, and up to $4.
select min(f.batch_id) as first, max(f.batch_id) as last
  from batch_file f join batch b using (batch_id)
 where f.state = 'verified' and f.window_end >= $1 and f.window_start <= $2
   and b.block_number >= $3 and ($4::bigint is null or b.block_number <= $4)
 group by f.batch_id >> 32 order by 1

-- name: history_beside
-- Of each lane the last batch before a time, or the first one of all.
select coalesce(max(batch_id) filter (where window_end < $1), min(batch_id)) as first,
       coalesce(max(batch_id) filter (where window_end < $1), min(batch_id)) as last
  from batch_file where state = 'verified' group by batch_id >> 32 order by 1
