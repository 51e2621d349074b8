-- name: mark_stale
insert into series_stale (sink, every_s, first_at, last_at, vanished)
select $1, $2, first_at, last_at, $5 from unnest($3::bigint[], $4::bigint[]) as span (first_at, last_at)

-- name: mark_all_stale
-- Whatever may have readings, by days: a batch with a late one spans all between.
insert into series_stale (sink, every_s, first_at, last_at, vanished)
select $1, $2, min(window_start), max(window_end), false from batch_file where state = 'verified'
 group by window_start / 86400, window_end / 86400

-- name: stale_spans
-- Of windows that have ended before a second, and are in nobody else's hands any more.
select id, first_at, last_at, vanished from series_stale
 where sink = $1 and every_s = $2 and last_at < $3::bigint order by last_at limit $4

-- name: forget_stale
delete from series_stale where id = any($1::bigint[])

-- name: forget_all_stale
delete from series_stale where sink = $1

-- name: stale_left
-- As `stale_spans`, of all tiers: an hour or a day that is still open is nothing that is late.
select count(*) from series_stale where sink = $1 and last_at < $2::bigint - $2::bigint % every_s

-- name: downsampled_target
select downsampled from sink where name = $1

-- name: set_downsampled_target
update sink set downsampled = $2 where name = $1

-- name: forget_stale_of
with gone as (delete from series_stale where sink = $1)
update sink set downsampled = '' where name = $1 and downsampled <> ''
