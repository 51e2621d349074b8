-- The last parameter of each of these is the number of shards that the asker divides by.

-- name: reading_segments
-- As the query of this name in the chain-wide database, but for what is only there; without the tokens $14.
with walked as (
       select metric, last_at, batch_id, position,
              sum(case when last_at > $7 then 0
                       when first_at >= $6 and (metric > $8 or first_at > $9) then count
                       else 1 end)
                  over (order by metric, last_at, batch_id, position rows unbounded preceding) as held
         from segment s
        where device = $1 and (metric, last_at) >= ($2::integer, $3::bigint)
          and (metric, last_at) <= ($4::integer, $5::bigint) and last_at >= $6::bigint and first_at <= $7::bigint
          and (metric, last_at, batch_id, (position + count - 1)::bigint)
              > ($8::integer, $9::bigint, $11::bigint, $12::bigint)
          and token <> all($14::bigint[]) and divided_by($15)
          and ($13::bigint is null
               or exists (select from held h
                           where h.batch_id = s.batch_id and h.token = s.token and h.block_number <= $13))),
  reach as (
       select metric, last_at from walked where held >= $10::bigint
        order by metric, last_at, batch_id, position limit 1)
select s.metric, s.first_at, s.batch_id, s.position, s.last, s.flag, s.cell, s.count, s.token
  from segment s
 where s.device = $1 and (s.metric, s.last_at) >= ($2::integer, $3::bigint)
   and (s.metric, s.last_at)
       <= (coalesce((select metric from reach), $4::integer),
           coalesce((select last_at - mod(last_at, 86400) + 86399 from reach), $5::bigint))
   and (s.metric, s.first_at)
       <= (coalesce((select metric from reach), $4::integer), coalesce((select last_at from reach), $7::bigint))
   and s.last_at >= $6::bigint and s.first_at <= $7::bigint
   and (s.metric, s.last_at, s.batch_id, (s.position + s.count - 1)::bigint)
       > ($8::integer, $9::bigint, $11::bigint, $12::bigint)
   and s.token <> all($14::bigint[]) and divided_by($15)
   and ($13::bigint is null
        or exists (select from held h
                    where h.batch_id = s.batch_id and h.token = s.token and h.block_number <= $13))

-- name: newest_readings
-- Without the tokens $4.
select d.device, c.metric, n.observed_at, n.value, n.flag, n.batch_id, n.position, n.cell, n.token
  from unnest($1::bytea[]) d(device) cross join unnest($2::integer[]) c(metric)
 cross join lateral (
       select last_at as observed_at, last as value, flag, batch_id, position + count - 1 as position, cell, token
         from segment s
        where s.device = d.device and s.metric = c.metric and s.token <> all($4::bigint[])
          and ($3::bigint is null
               or exists (select from held h
                           where h.batch_id = s.batch_id and h.token = s.token and h.block_number <= $3))
        order by s.device desc, s.metric desc, s.last_at desc, s.batch_id desc, s.position desc limit 1) n
 where divided_by($5)

-- name: whereabouts
-- Without the tokens $9. A row for each batch, and one for each cell with a batch that shows it. `perhaps`: segments
-- that begin before the window and end after it; whether they hold some of it, only their leaves know.
with found as (
       select batch_id, token, cell, first_at, last_at, position, count from segment s
        where device = $1 and metric = $2 and last_at >= least($3::bigint, $7::bigint)
          and last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and first_at <= $4
          and token <> all($9::bigint[]) and divided_by($10)
          and ($6::bigint is null
               or exists (select from held h
                           where h.batch_id = s.batch_id and h.token = s.token and h.block_number <= $6)))
(select distinct 'batch' as kind, batch_id, token, null::bigint as cell, null::integer as position,
        null::integer as count
   from found where last_at >= $3 order by batch_id, token limit $5)
union all
(select distinct on (cell) 'cell', batch_id, token, cell, null, null
   from found where last_at >= $7 and (first_at >= $7 or last_at <= $4) order by cell limit $8)
union all
select 'perhaps', batch_id, token, cell, position, count
  from found where $8::bigint > 0 and first_at < $7 and last_at > $4

-- name: segments_near
-- Without the tokens $7.
select batch_id, token, cell, first_at, last_at from segment s
 where device = $1 and metric = $2 and last_at >= $3::bigint
   and last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and first_at <= $4
   and token <> all($7::bigint[]) and divided_by($8)
   and ($5::bigint is null
        or exists (select from held h where h.batch_id = s.batch_id and h.token = s.token and h.block_number <= $5))
 limit $6

-- name: series
-- Without the tokens $8. Each row says what is not known to stand, as of the same moment: sums of many batches do not
-- say of which.
with held_here as (
       select batch_id, token, position, count, first_at, sum, min, max, last_at,
              last_at - mod(last_at, $5::bigint) as bucket,
              first_at >= $3 and last_at <= $4 and first_at >= last_at - mod(last_at, $5::bigint) as whole
         from segment s
        where device = $1 and metric = $2 and last_at >= $3::bigint
          and last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and first_at <= $4
          and token <> all($8::bigint[]) and divided_by($9)
          and ($7::bigint is null
               or exists (select from held h
                           where h.batch_id = s.batch_id and h.token = s.token and h.block_number <= $7))),
  reach as (
       select case when count(*) = $6::bigint then max(bucket) + $5 - 1 else $4::bigint end as last
         from (select distinct bucket from held_here where last_at <= $4 order by bucket limit $6) filled),
  doubtful as (
       select array_agg(batch_id order by batch_id, token) as batches, array_agg(token order by batch_id, token) as tokens
         from held where not settled),
  made as (
select bucket, sum(count)::bigint as count, sum(sum)::bigint as sum, min(min) as min, max(max) as max,
       true as whole, 0 as position, 0::bigint as batch_id, 0::bigint as token
  from held_here cross join reach where whole and bucket <= reach.last group by bucket
 union all
select bucket, count, sum, min, max, false, position, batch_id, token
  from held_here cross join reach where not whole and first_at <= reach.last)
select made.*, coalesce(d.batches, '{}') as batches, coalesce(d.tokens, '{}') as tokens
  from made cross join doubtful d

-- name: batch_contents
select distinct batch_id, token, case when device = any($2::bytea[]) then device end as device, metric,
       case when device = any($2::bytea[]) or cell = any($4::bigint[]) then cell end as cell
  from segment
 where batch_id = any($1::bigint[]) and divided_by($5)
   and (device = any($2::bytea[]) or metric = any($3::integer[]) or cell = any($4::bigint[]))

-- name: batches_with
select distinct batch_id from segment where device = any($1::bytea[]) and divided_by($2)
