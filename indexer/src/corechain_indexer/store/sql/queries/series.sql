-- name: series_lacks
-- Why a series database cannot answer for a window; null when it can. It has still to learn something, another
-- one was filled, or it has refused readings of the window.
select case when target <> $1 or exists (select from outbox where sink = $4) then 'behind'
            when exists (select from series_refused where sink = $4 and first_at <= $3 and last_at >= $2)
            then 'refused' end
  from sink where name = $4

-- name: series_refused
select count(distinct batch_id) as batches, coalesce(sum(count), 0)::bigint as readings, min(why) as why
  from series_refused where sink = $1

-- name: note_refused
insert into series_refused (sink, batch_id, count, first_at, last_at, why) values ($1, $2, $3, $4, $5, $6)

-- name: forget_refused
delete from series_refused where sink = $1 and batch_id = $2

-- name: forget_all_refused
delete from series_refused where sink = $1

-- name: series_sinks
select name, downsampled <> '' as downsampled from sink where name = 'series' or name like 'series %'

-- name: hold_batches
lock table batch, batch_file in share mode

-- name: forget_sinks
delete from sink where name like 'series %' and not name = any($1::text[])

-- name: add_sinks
insert into sink (name) select unnest($1::text[]) on conflict (name) do nothing

-- name: retracted_leaves
select leaves, packed, archived from outbox where id = $1

-- name: verified_in
-- Batches that stand and may hold readings of one of some spans of time.
select distinct f.batch_id, b.commitment
  from unnest($1::bigint[], $2::bigint[]) as span (first_at, last_at)
  join batch_file f on f.window_end >= span.first_at and f.window_start <= span.last_at and f.state = 'verified'
  join batch b using (batch_id) order by f.batch_id
