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

-- name: batches_with
-- Batches that hold readings of the device and metric, up to a block.
select distinct batch_id from rollup
 where device = $1 and metric = $2 and hour >= $3 and hour <= $4
   and ($6::bigint is null
        or exists (select from batch e where e.batch_id = rollup.batch_id and e.block_number <= $6))
 order by batch_id limit $5

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
