-- name: batch_contents
-- What batches hold of devices ($2), metrics ($3) and cells ($4) that somebody asks for, a row for each; with nulls
-- for a batch that holds none of it. No row for a batch of which that is not known: it is not verified (any more),
-- or its segments are gone. Where only its metric is wanted, a row says nothing of device and cell: else a batch
-- would be as many rows as it has segments. `merged`: some of it is in merged rows, and its leaves have to say.
with held as (
    select b.batch_id, b.commitment, m.merged
      from batch b join batch_file f using (batch_id)
     cross join lateral (
           select exists (select from merged_batch g where g.batch_id = b.batch_id) as merged) m
     where b.batch_id = any($1::bigint[]) and f.state = 'verified'
       and (f.reading_count = 0 or m.merged or exists (select from segment s where s.batch_id = b.batch_id)))
select h.batch_id, h.commitment, h.merged, s.device, s.metric, s.cell
  from held h left join lateral (
    select distinct case when device = any($2::bytea[]) then device end as device, metric,
           case when device = any($2::bytea[]) or cell = any($4::bigint[]) then cell end as cell
      from segment
     where batch_id = h.batch_id and not h.merged
       and (device = any($2::bytea[]) or metric = any($3::integer[]) or cell = any($4::bigint[]))) s on true
