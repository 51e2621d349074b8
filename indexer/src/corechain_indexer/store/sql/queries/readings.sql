-- name: reading_segments
-- The segments with the first $10 readings at least, in the order (metric, observed_at, batch_id, position), that a
-- device sent: metrics and end by ($2, $3) to ($4, $5), observed in [$6, $7], behind the reading ($8, $9, $11, $12),
-- of batches up to block $13. `reach` is how far to look: each segment gives its last reading, and all of them where
-- it lies within the window. What begins later cannot have any of the first. ($5 ends a day: no segment that begins
-- before ends after.) Slices are read where the row does not hold the reading itself: null is looked for nowhere.
-- The first columns are, in this order, a `StoredReading`: a segment of one reading is taken as it comes. Of a merged row
-- (a count below zero) the readings come as arrays, with the batches that stand where there is a bound; one may then have
-- none of the page, so it is not counted upon.
with walked as (
       select metric, last_at, batch_id, position,
              sum(case when last_at > $7 or (count < 0 and $13::bigint is not null) then 0
                       when first_at >= $6 and (metric > $8 or first_at > $9) then abs(count)
                       else 1 end)
                  over (order by metric, last_at, batch_id, position rows unbounded preceding) as held
         from segment s
        where device = $1 and (metric, last_at) >= ($2::integer, $3::bigint)
          and (metric, last_at) <= ($4::integer, $5::bigint) and last_at >= $6::bigint and first_at <= $7::bigint
          and (metric, last_at, batch_id, (position + greatest(count, 1) - 1)::bigint)
              > ($8::integer, $9::bigint, $11::bigint, $12::bigint)
          and ($13::bigint is null or count < 0
               or exists (select from batch e where e.batch_id = s.batch_id and e.block_number <= $13))),
  reach as (
       select metric, last_at from walked where held >= $10::bigint
        order by metric, last_at, batch_id, position limit 1)
select s.metric, s.first_at, s.batch_id, s.position, s.last, s.flag, s.cell,
       finality_of(b.block_number, m.safe, m.final) as finality,
       s.count, run.leaves, run.packed, run.archived, own.*
  from segment s join batch b using (batch_id) cross join chain_mark m
  left join lateral (
       select substring(f.leaves from 1 + 40 * s.position for 40 * s.count) as leaves,
              case when f.leaves is null
                   then packed_blocks(f.batch_id, s.position / 1024, (s.position + s.count - 1) / 1024) end as packed,
              f.archived
         from batch_file f where f.batch_id = case when s.count > 1 then s.batch_id end) run on true
  left join lateral (
       select x.batch_steps, x.positions, x.seconds, x.scaled, x.flags,
              case when $13::bigint is not null
                   then array(select e.batch_id from batch e
                               where e.batch_id in (select x.batch_id + step from unnest(x.batch_steps) step)
                                 and e.block_number <= $13) end as standing
         from segment x
        where s.count < 0 and x.device = s.device and x.metric = s.metric and x.last_at = s.last_at
          and x.batch_id = s.batch_id and x.position = s.position
        limit 1) own on true  -- by the limit each row is looked up by itself, and only where it is a merged one
 where s.device = $1 and (s.metric, s.last_at) >= ($2::integer, $3::bigint)
   and (s.metric, s.last_at)
       <= (coalesce((select metric from reach), $4::integer),
           coalesce((select last_at - mod(last_at, 86400) + 86399 from reach), $5::bigint))
   and (s.metric, s.first_at)
       <= (coalesce((select metric from reach), $4::integer), coalesce((select last_at from reach), $7::bigint))
   and s.last_at >= $6::bigint and s.first_at <= $7::bigint
   and (s.metric, s.last_at, s.batch_id, (s.position + greatest(s.count, 1) - 1)::bigint)
       > ($8::integer, $9::bigint, $11::bigint, $12::bigint)
   and ($13::bigint is null or s.count < 0 or b.block_number <= $13)

-- name: single_readings
-- Pages for some who ask together, each as `reading_segments` says it: all whose readings stand alone in their
-- segments, so that the index holds everything. `found` is null for the others, which are asked for by themselves:
-- runs have leaves to be cut, merged rows arrays, and what ends as late or later may have begun before a page ends
-- (within its day).
-- By columns, in few: a row for each reading takes Postgres twice as long, and each array another tenth. So metric and
-- second share a number, as do value and flag, and they come as Postgres sends arrays (array_send): what they are shown
-- as is written from these bytes. The arguments stand in sub-selects so that their lengths are not looked at: Postgres
-- would plan anew for each group, which takes longer than to answer it.
select q.n, a.found, array_send(a.places) as places, array_send(a.batches) as batches,
       array_send(a.positions) as positions, array_send(a.values) as values, array_send(a.cells) as cells, f.*
  from unnest((select $1::bytea[]), (select $2::integer[]), (select $3::bigint[]), (select $4::integer[]),
              (select $5::bigint[]), (select $6::bigint[]), (select $7::bigint[]), (select $8::integer[]),
              (select $9::bigint[]), (select $10::bigint[]), (select $11::bigint[]), (select $12::bigint[]),
              (select $13::bigint[])) with ordinality
       q (device, metric, at, last_metric, last_at, start, stop, after_metric, after_at, most, after_batch,
          after_position, newest_block, n)
  left join lateral (
       select count(*)::integer as found, array_agg(s.metric::bigint << 40 | s.last_at) as places,
              array_agg(s.batch_id) as batches, array_agg(s.position) as positions,
              array_agg(s.last::bigint << 8 | s.flag) as values, array_agg(s.cell) as cells
         from (select metric, last_at, batch_id, position, last, flag, cell, count
                 from segment s
                where device = q.device and (metric, last_at) >= (q.metric, q.at)
                  and (metric, last_at) <= (q.last_metric, q.last_at) and last_at >= q.start and first_at <= q.stop
                  and (metric, last_at, batch_id, (position + greatest(count, 1) - 1)::bigint)
                      > (q.after_metric, q.after_at, q.after_batch, q.after_position)
                  and (q.newest_block is null or count < 0
                       or (select block_number from batch e where e.batch_id = s.batch_id) <= q.newest_block)
                order by metric, last_at, batch_id, position limit q.most) s
       having coalesce(bool_and(s.count = 1), true)) a
    on a.found < q.most
       or not exists (
          select from segment s
                 cross join (select a.places[a.found] >> 40 as metric,
                                    a.places[a.found] & 1099511627775 as at offset 0) e
           where s.device = q.device and s.metric = e.metric and s.last_at >= e.at
             and s.last_at <= e.at - mod(e.at, 86400) + 86399 and s.first_at <= e.at and s.count <> 1)
 cross join lateral (
       select array_agg(b.batch_id) as known, array_agg(finality_of(b.block_number, m.safe, m.final)) as finalities
         from batch b cross join chain_mark m where b.batch_id = any(a.batches)) f

-- name: whereabouts
-- Of a device's metric, by batches up to a block: the batches that hold readings in [$3, $4], or some before and some
-- after it; and the cells where it was in [$7, $4]. One statement: each is a round trip. (The limit of 0 reads nothing.)
-- A segment that begins before the window and ends after it is opened for its cell: it may hold none of it. (Not where
-- its leaves are packed: a cell too many is a part of zero readings.)
select array(
       select distinct batch_id
         from (select batch_id from segment
                where device = $1 and metric = $2 and last_at >= $3::bigint
                  and last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and first_at <= $4 and count > 0
                union all
               select r.batch_id from segment s cross join lateral entries_of(s) r
                where s.device = $1 and s.metric = $2 and s.last_at >= $3::bigint
                  and s.last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and s.first_at <= $4 and s.count < 0
                  and r.observed_at between $3 and $4) s
        where $6::bigint is null
           or exists (select from batch e where e.batch_id = s.batch_id and e.block_number <= $6)
        order by batch_id limit $5) as batches,
       array(
       select distinct cell from segment s
        where device = $1 and metric = $2 and last_at >= $7::bigint
          and last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and first_at <= $4 and count > 0
          and (first_at >= $7 or last_at <= $4
               or exists (select from batch_file f where f.batch_id = s.batch_id and f.leaves is null)
               or exists (select from batch_file f
                           cross join lateral
                                 (select substring(f.leaves from 1 + 40 * s.position for 40 * s.count) offset 0)
                                 run (leaves)
                           cross join generate_series(0, s.count - 1) n
                           where f.batch_id = s.batch_id
                             and ('x' || encode(substring(run.leaves from 31 + 40 * n for 5), 'hex'))::bit(40)::bigint
                                 between $7 and $4))
          and ($6::bigint is null
               or exists (select from batch e where e.batch_id = s.batch_id and e.block_number <= $6))
        union
       select cell from segment s
        where device = $1 and metric = $2 and last_at >= $7::bigint
          and last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and first_at <= $4 and count < 0
          and exists (
              select from entries_of(s) r
               where r.observed_at between $7 and $4
                 and ($6::bigint is null
                      or exists (select from batch e where e.batch_id = r.batch_id and e.block_number <= $6)))
        order by cell limit $8) as cells

-- name: segments_near
-- The first segments of those that `whereabouts` looks at for batches: of a device's metric, that touch [$3, $4] or lie
-- around it; with their batches as `verified_between` says them. For a short time in one batch this is all there is to
-- know, and takes a plan of three nodes, not of fifteen. (A segment is there while its batch is verified.)
select s.batch_id, b.commitment, b.block_number, finality_of(b.block_number, m.safe, m.final) as finality,
       s.cell, s.first_at, s.last_at, s.count
  from segment s join batch b using (batch_id) cross join chain_mark m
 where s.device = $1 and s.metric = $2 and s.last_at >= $3::bigint
   and s.last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and s.first_at <= $4
   and ($5::bigint is null or s.count < 0 or b.block_number <= $5)
 limit $6

-- name: series
-- Buckets of $5 seconds of what was observed in [$3, $4], of batches up to a block: the first $6 at least. Segments
-- of which a bucket holds all, and the readings of merged rows, are added up here; the others come one by one, with
-- their leaves. `reach` is the end of the last bucket that is wanted: the end of a segment stands in a bucket that is not
-- empty, but of a merged row where there is a bound: it may have no reading by then. `cut` says in each row whether
-- `whole_series` would have to leave this series out: for the leaves of a run, or for the readings of a merged row.
with held as (
       select batch_id, position, count, first_at, sum, min, max, last_at,
              last_at - mod(last_at, $5::bigint) as bucket,
              first_at >= $3 and last_at <= $4 and first_at >= last_at - mod(last_at, $5::bigint)
              and (count > 0 or $7::bigint is null) as whole
         from segment s
        where device = $1 and metric = $2 and last_at >= $3::bigint
          and last_at <= $4::bigint - mod($4::bigint, 86400) + 86399 and first_at <= $4
          and ($7::bigint is null or count < 0
               or exists (select from batch e where e.batch_id = s.batch_id and e.block_number <= $7))),
  reach as (
       select case when count(*) = $6::bigint then max(bucket) + $5 - 1 else $4::bigint end as last
         from (select distinct bucket from held where last_at <= $4 and (count > 0 or $7::bigint is null)
                order by bucket limit $6) filled),
  added as (
       select bucket, abs(count) as count, sum, min, max from held cross join reach where whole and bucket <= reach.last
        union all
       select r.observed_at - mod(r.observed_at, $5::bigint), 1, r.value, r.value, r.value
         from held cross join reach
        cross join lateral (
              select x from segment x
               where held.count < 0 and x.device = $1 and x.metric = $2 and x.last_at = held.last_at
                 and x.batch_id = held.batch_id and x.position = held.position limit 1) own (run)
        cross join lateral entries_of(own.run) r
        where held.count < 0 and not held.whole and held.first_at <= reach.last and r.observed_at between $3 and $4
          and ($7::bigint is null
               or exists (select from batch e where e.batch_id = r.batch_id and e.block_number <= $7)))
select bucket, sum(count)::bigint as count, sum(sum)::bigint as sum, min(min) as min, max(max) as max,
       true as whole, (select bool_or(not h.whole) from held h) as cut, 0 as position, null::bytea as leaves,
       null::bytea[] as packed, null::bytea as archived
  from added group by bucket
 union all
select bucket, count, sum, min, max, false, true, position,
       substring(f.leaves from 1 + 40 * held.position for 40 * held.count),
       case when f.leaves is null
            then packed_blocks(batch_id, position / 1024, (position + count - 1) / 1024) end,
       f.archived
  from held join batch_file f using (batch_id) cross join reach where not whole and count > 0 and first_at <= reach.last

-- name: whole_series
-- Series for some who ask together, each as `series` says it, by columns: all whose segments lie within the window and
-- within a bucket, as with buckets of days, so that no leaves are read. `starts` is null for the others, which are
-- asked for by themselves. The arguments stand in sub-selects as in `single_readings`.
select q.n, a.*
  from unnest((select $1::bytea[]), (select $2::integer[]), (select $3::bigint[]), (select $4::bigint[]),
              (select $5::bigint[]), (select $6::integer[])) with ordinality
       q (device, metric, start, stop, bucket_s, most, n)
  left join lateral (
       select coalesce((array_agg(bucket))[:q.most], '{}') as starts, (array_agg(count))[:q.most] as counts,
              (array_agg(sum))[:q.most] as sums, (array_agg(min))[:q.most] as least, (array_agg(max))[:q.most] as greatest
         from (select last_at - mod(last_at, q.bucket_s) as bucket, sum(abs(count))::bigint as count,
                      sum(sum)::bigint as sum, min(min) as min, max(max) as max,
                      bool_and(first_at >= q.start and last_at <= q.stop
                               and first_at >= last_at - mod(last_at, q.bucket_s)) as whole
                 from segment
                where device = q.device and metric = q.metric and last_at >= q.start
                  and last_at <= q.stop - mod(q.stop, 86400) + 86399 and first_at <= q.stop
                group by 1 order by 1) filled
       having coalesce(bool_and(whole), true)) a on true
