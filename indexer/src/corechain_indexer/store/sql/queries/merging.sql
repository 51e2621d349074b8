-- name: merging_alone
-- One merges at a time, and nobody takes a batch away meanwhile.
select pg_advisory_xact_lock(hashtextextended('corechain merging', 0))

-- name: merge_mark
select day, device from merge_mark

-- name: day_to_merge
-- The first day behind $1 of which a final batch has readings, and that is over for $2 seconds. Null, too, while a batch
-- is not final that has readings of that day or an earlier one: a day is gone through once.
select d.day
  from (select min(greatest(f.window_start / 86400, $1::bigint + 1)) as day
          from batch_file f join batch b using (batch_id) cross join chain_mark m
         where f.state = 'verified' and f.window_end / 86400 > $1 and b.block_number <= m.final) d
 where (d.day + 1) * 86400 + $2::double precision <= extract(epoch from now())
   and not exists (
       select from batch b join batch_file f using (batch_id) cross join chain_mark m
        where b.block_number > m.final and f.state = 'verified' and f.window_start / 86400 <= d.day)

-- name: devices_behind
-- The next $2 devices that have readings, each by one look into the index.
with recursive d (device, n) as (
    (select device, 1 from segment where device > $1 order by device limit 1)
    union all
    select (select s.device from segment s where s.device > d.device order by s.device limit 1), n + 1
      from d where d.device is not null and n < $2::integer)
select device from d where device is not null

-- name: merge_runs
-- What devices ($1) sent singly on a day (from second $3 on), by metric ($2) and cell, as one row each. In one statement:
-- nobody sees a reading twice, or not at all.
with alone as materialized (
       select s.ctid as place, count(*) over same as together, max(batch_id) over same - min(batch_id) over same as spread
         from segment s join batch b using (batch_id) cross join chain_mark m
        where s.device = any($1::bytea[]) and s.metric = any($2::integer[])
          and s.last_at >= $3::bigint and s.last_at < $3::bigint + 86400 and s.count = 1 and b.block_number <= m.final
       window same as (partition by s.device, s.metric, s.cell)),
  taken as (
       delete from segment s using alone a
        where s.ctid = a.place and a.together > 1 and a.spread < 2147483648
       returning s.batch_id, s.position, s.last_at, s.last, s.flag, s.device, s.metric, s.cell),
  noted as (
       insert into merged_batch (batch_id, day) select distinct batch_id, $3::bigint / 86400 from taken
           on conflict do nothing),
  gathered as (
       select device, metric, cell, count(*)::integer as n, sum(last)::bigint as sum, min(last) as least,
              max(last) as most, array_agg(batch_id order by last_at, batch_id, position) as batches,
              array_agg(position order by last_at, batch_id, position) as positions,
              array_agg(last_at order by last_at, batch_id, position) as times,
              array_agg(last order by last_at, batch_id, position) as scaled,
              array_agg(flag order by last_at, batch_id, position) as flags,
              min(flag) = max(flag) as alike
         from taken group by device, metric, cell),
  merged as (
       insert into segment (batch_id, cell, first_at, last_at, sum, position, count, metric, min, max, last, flag,
                            device, batch_steps, positions, seconds, scaled, flags)
       select batches[n], cell, times[1], times[n], sum, positions[n], -n, metric, least, most, scaled[n], flags[n],
              device, array(select (b - batches[n])::integer from unnest(batches) with ordinality u (b, o) order by o),
              positions,
              array(select (t - $3::bigint)::integer from unnest(times) with ordinality u (t, o) order by o),
              scaled, case when alike then null else flags end
         from gathered
       returning -count as n)
select coalesce(sum(n), 0)::bigint from merged

-- name: move_merge_mark
update merge_mark set day = $1, device = $2
