-- name: ping
select 1

-- name: change
-- Another one whenever an answer may be another one.
select life || '-' || number from change

-- name: newest_rollback
select coalesce(max(id), 0) from rollback

-- name: is_rolled_back
-- Whether a block was taken away after some rollback.
select exists (select from rollback where id > $1 and to_block < $2)

-- name: is_settled
-- Whether nothing will ever change up to a block: it is final, and every batch has its last verdict.
select m.final >= $1
       and not exists (select from unjudged_batch where block_number <= $1)
       and not exists (select from batch_file f join batch b using (batch_id)
                        where f.state = 'withheld' and b.block_number <= $1)
  from chain_mark m

-- name: state_counts
select state, sum(batches)::bigint as count, sum(readings)::bigint as readings, sum(rejected)::bigint as rejected
  from tally group by state having sum(batches) > 0

-- name: devices_page
-- What view `device` says of the first ids after one, by a scan of each index from that id to the page's last: the
-- view would be looked up for each device anew. Materialised: else the planner may join the whole tables first.
with page as materialized (
       select device
         from ((select distinct device from device_event
                 where device > $1 and kind in ('registered', 'materialised') order by device limit $2)
               union
               (select distinct device from fleet_device where device > $1 order by device limit $2)) known
        order by device limit $2),
     said as materialized (
       select device, kind, owner, key_type, revoked_at, block_number, log_index from device_event
        where device > $1 and device <= (select device from page order by device desc limit 1)),
     origin as (
       select distinct on (device) device, owner, key_type, block_number
         from (select device, owner, key_type, block_number, log_index, 0 as source from said
                where kind in ('registered', 'materialised')
               union all
               select device, owner, key_type, block_number, log_index, 1 from fleet_device
                where device > $1 and device <= (select device from page order by device desc limit 1)) o
        order by device, source, block_number, log_index),
     newest as (
       select distinct on (device) device, owner from said where kind = 'transferred'
        order by device, block_number desc, log_index desc)
select o.device, coalesce(n.owner, o.owner) as owner, o.key_type, v.device is not null as revoked, v.revoked_at,
       o.block_number, finality_of(o.block_number, m.safe, m.final) as finality
  from origin o
  left join newest n using (device)
  left join said v on v.device = o.device and v.kind = 'revoked'
 cross join chain_mark m
 order by o.device limit $2

-- name: device_count
select count(*)
  from ((select distinct device from device_event
          where kind in ('registered', 'materialised') order by device limit $1::bigint)
        union
        (select distinct device from fleet_device order by device limit $1::bigint)
        limit $1::bigint) known

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

-- name: any_batches_page
-- `batches_page` of any state, up to any block. With these filters a page is planned anew for each question, which
-- takes as long as to answer it; here the plan is kept: the arguments stand in sub-selects, so that Postgres sees no
-- better one with them. Each file is looked up by itself (limit 1): planned for any number of rows, all files would be
-- read. The order is that of the index.
select b.batch_id, b.commitment, b.block_number, b.transaction, coalesce(f.state, 'pending') as state, f.reason,
       f.previous, f.ancestor, f.statistics_root, f.reports_root, f.data_hash, f.rules_hash, f.reading_count,
       f.report_count, f.rejected_count, f.window_start, f.window_end, f.readings_root,
       finality_of(b.block_number, m.safe, m.final) as finality
  from chain_mark m
 cross join (select batch_id, commitment, block_number, transaction
               from batch where batch_id > (select $1::bigint) order by batch_id limit (select $2::bigint)) b
  left join lateral (
       select state, reason, previous, ancestor, statistics_root, reports_root, data_hash, rules_hash, reading_count,
              report_count, rejected_count, window_start, window_end, readings_root
         from batch_file where batch_id = b.batch_id limit 1) f on true
 order by b.batch_id

-- name: newest_batches_page
-- `batches_page` from the newest on, those of all lanes together: ids count up in each lane, blocks in all. Before a
-- place, which is a block and a log in it.
select b.batch_id, b.commitment, b.block_number, b.log_index, b.transaction, coalesce(f.state, 'pending') as state,
       f.reason, f.previous, f.ancestor, f.statistics_root, f.reports_root, f.data_hash, f.rules_hash, f.reading_count,
       f.report_count, f.rejected_count, f.window_start, f.window_end, f.readings_root,
       finality_of(b.block_number, m.safe, m.final) as finality
  from batch b left join batch_file f using (batch_id) cross join chain_mark m
 where (b.block_number, b.log_index) < ($1::bigint, $2::bigint) and b.batch_id > $3
   and ($5::text is null or coalesce(f.state, 'pending') = $5) and ($6::bigint is null or b.block_number <= $6)
 order by b.block_number desc, b.log_index desc limit $4

-- name: batch
-- As a row of `batches_page`. By itself: planned for any number of rows, and with its filters, a page is planned anew
-- for each question, which takes three times as long as to look one batch up.
select b.batch_id, b.commitment, b.block_number, b.transaction, coalesce(f.state, 'pending') as state, f.reason,
       f.previous, f.ancestor, f.statistics_root, f.reports_root, f.data_hash, f.rules_hash, f.reading_count,
       f.report_count, f.rejected_count, f.window_start, f.window_end, f.readings_root,
       finality_of(b.block_number, m.safe, m.final) as finality
  from batch b left join batch_file f using (batch_id) cross join chain_mark m where b.batch_id = $1

-- name: rejections_page
select ordinal, device, sequence, metric, cell, observed_at, value, reasons from rejection
 where batch_id = $1 and ordinal > $2::bigint order by ordinal limit $3

-- name: verified_between
-- What may change of a batch: its commitment binds the rest (`headers_of`), which is kept by whoever has read it once.
select b.batch_id, b.commitment, b.block_number, finality_of(b.block_number, m.safe, m.final) as finality
  from batch b join batch_file f using (batch_id) cross join chain_mark m
 where b.batch_id between $1 and $2 and f.state = 'verified' and ($3::bigint is null or b.block_number <= $3)
 order by b.batch_id

-- name: newest_verified
-- Those among the newest $1 batches that are verified and have the upper levels of their trees.
select b.batch_id, b.commitment
  from (select batch_id, commitment from batch order by block_number desc, log_index desc limit $1) b
  join batch_file f using (batch_id)
 where f.state = 'verified' and f.tree_levels is not null

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

-- name: state_channels
select * from state_channel
 where ($1::bytea is null or party_a = $1 or party_b = $1) and channel_id > $2 order by channel_id limit $3

-- name: state_channel
select * from state_channel where channel_id = $1
