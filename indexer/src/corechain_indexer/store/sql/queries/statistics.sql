-- name: batches_in_window
-- Verified batches with readings observed in a window (seconds), or some before and some after it; up to a block.
select f.batch_id from batch_file f
 where f.state = 'verified' and f.window_end >= $1 and f.window_start <= $2
   and ($4::bigint is null
        or exists (select from batch e where e.batch_id = f.batch_id and e.block_number <= $4))
 order by f.batch_id limit $3

-- name: first_verified
-- Of the verified batches with ids in [$1, $2] the first.
select batch_id from batch_file where state = 'verified' and batch_id between $1 and $2 order by batch_id limit 1

-- name: last_verified
-- Of the verified batches with ids in [$1, $2] the last.
select batch_id from batch_file where state = 'verified' and batch_id between $1 and $2 order by batch_id desc limit 1

-- name: history_spans
-- Of each lane the batches with readings observed in [$1, $2] (seconds), committed in a block from $3 on and up to $4;
-- from the one before them that shows that none is missing there, to the one behind them: else the first and the last.
-- Found from both ends of a lane, by batch id: a lane's blocks rise with its ids, and its times nearly do.
with recursive lane (lane) as (
       select min(batch_id) >> 32 from batch_file where state = 'verified'
       union all
       select (select f.batch_id >> 32 from batch_file f
                where f.state = 'verified' and f.batch_id > (lane << 32 | 4294967295) order by f.batch_id limit 1)
         from lane where lane is not null),
     reach as (
       select l.lane << 32 as least, l.lane << 32 | 4294967295 as most,
              case when $3::bigint <= 0 then l.lane << 32 else coalesce(
                (select b.batch_id from batch b
                  where b.block_number >= $3 and b.batch_id between l.lane << 32 and l.lane << 32 | 4294967295
                  order by b.block_number, b.log_index limit 1), l.lane + 1 << 32) end as since,
              case when $4::bigint is null then l.lane << 32 | 4294967295 else coalesce(
                (select b.batch_id from batch b
                  where b.block_number <= $4 and b.batch_id between l.lane << 32 and l.lane << 32 | 4294967295
                  order by b.block_number desc, b.log_index desc limit 1), l.lane << 32) end as until
         from lane l where l.lane is not null),
     inside as (
       select r.*,
              (select batch_id from batch_file f where state = 'verified' and batch_id between r.since and r.until
                  and window_end >= $1 and window_start <= $2 order by batch_id limit 1) as first,
              (select batch_id from batch_file f where state = 'verified' and batch_id between r.since and r.until
                  and window_end >= $1 and window_start <= $2 order by batch_id desc limit 1) as last
         from reach r)
select coalesce(low.batch_id, i.least | 1) as first, coalesce(high.batch_id, newest.batch_id) as last
  from inside i
  left join lateral (
       select batch_id from batch_file where state = 'verified' and batch_id > i.least
          and batch_id < coalesce(i.first, i.most) and (window_end < $1 or batch_id < i.since)
        order by batch_id desc limit 1) low on true
  left join lateral (
       select batch_id from batch_file where state = 'verified' and batch_id <= i.most
          and batch_id > coalesce(i.last, low.batch_id, i.least) and (window_start > $2 or batch_id > i.until)
        order by batch_id limit 1) high on true
  join lateral (
       select batch_id from batch_file where state = 'verified' and batch_id > i.least and batch_id <= i.most
        order by batch_id desc limit 1) newest on true
 order by 1
