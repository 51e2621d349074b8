-- name: batches_in_window
-- Verified batches with readings observed in a window (seconds), or some before and some after it; up to a block.
select f.batch_id from batch_file f
 where f.state = 'verified' and f.window_end >= $1 and f.window_start <= $2
   and ($4::bigint is null
        or exists (select from batch e where e.batch_id = f.batch_id and e.block_number <= $4))
 order by f.batch_id limit $3

-- name: history_spans
-- Of each lane the batches with readings observed in [$1, $2] (seconds), committed in a block from $3 on and up to $4;
-- from the one before them that shows that none is missing there, to the one behind them: else the first and the last.
with verified as not materialized (
       select f.batch_id, f.batch_id >> 32 as lane, f.window_start, f.window_end, b.block_number
         from batch_file f join batch b using (batch_id) where f.state = 'verified'),
     inside as (
       select lane, min(batch_id) as first, max(batch_id) as last from verified
        where window_end >= $1 and window_start <= $2 and block_number >= $3
          and ($4::bigint is null or block_number <= $4) group by lane),
     lanes as (
       select l.lane, l.lane << 32 | 4294967295 as most, inside.first, inside.last
         from (select distinct lane from verified) l left join inside using (lane))
select coalesce(low.batch_id, lanes.lane << 32 | 1) as first, coalesce(high.batch_id, newest.batch_id) as last
  from lanes
  left join lateral (
       select batch_id from verified v
        where v.batch_id > lanes.lane << 32 and v.batch_id < coalesce(lanes.first, lanes.most)
          and (v.window_end < $1 or v.block_number < $3) order by v.batch_id desc limit 1) low on true
  left join lateral (
       select batch_id from verified v
        where v.batch_id > coalesce(lanes.last, low.batch_id, lanes.lane << 32) and v.batch_id <= lanes.most
          and (v.window_start > $2 or v.block_number > $4) order by v.batch_id limit 1) high on true
  join lateral (
       select batch_id from verified v where v.batch_id > lanes.lane << 32 and v.batch_id <= lanes.most
        order by v.batch_id desc limit 1) newest on true
 order by 1
