-- name: batches_in_window
-- Verified batches with readings observed in a window (seconds), or some before and some after it; up to a block.
select f.batch_id from batch_file f
 where f.state = 'verified' and f.window_end >= $1 and f.window_start <= $2
   and ($4::bigint is null
        or exists (select from batch e where e.batch_id = f.batch_id and e.block_number <= $4))
 order by f.batch_id limit $3
