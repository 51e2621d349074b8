-- name: ping
select 1

-- name: state_counts
select state, sum(batches)::bigint as count, sum(readings)::bigint as readings, sum(rejected)::bigint as rejected
  from tally group by state having sum(batches) > 0

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

-- name: rejections_page
select ordinal, device, sequence, metric, cell, observed_at, value, reasons from rejection
 where batch_id = $1 and ordinal > $2::bigint order by ordinal limit $3

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

-- name: payment_channels
select * from payment_balance where ($1::bytea is null or payer = $1) and channel_id > $2 order by channel_id limit $3

-- name: payment_channel
select * from payment_balance where channel_id = $1

-- name: state_channel
select * from state_channel where channel_id = $1
