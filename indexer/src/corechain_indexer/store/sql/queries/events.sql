-- name: number_announcements
-- Takes what has happened into the log, in the order in which it happened. By one caller at a time.
with taken as (
    delete from announcement where id in (select id from announcement order by id limit $1) returning *),
  log as (
    update batch_event_log set newest = newest + (select count(*) from taken)
     where exists (select from taken) returning newest)
insert into batch_event (id, kind, batch_id, commitment, block_number, block_hash, transaction, reading_count,
                         rejected_count, window_start, window_end, finality, open)
select log.newest - count(*) over () + row_number() over (order by t.id), t.kind, t.batch_id, t.commitment,
       t.block_number, t.block_hash, t.transaction, t.reading_count, t.rejected_count, t.window_start, t.window_end,
       finality_of(t.block_number, m.safe, m.final), t.kind = 'new'
  from taken t cross join log cross join chain_mark m
returning id, kind

-- name: close_undone
-- Batches that were undone by events from one on will not become final: not these ones.
update batch_event n set open = false
  from batch_event u
 where u.id >= $1 and u.kind = 'undone' and n.open and n.block_number = u.block_number and n.batch_id = u.batch_id
   and n.id < u.id

-- name: number_finals
-- Batches whose block has become final, in the order of the chain. A batch of which something else is still to be
-- told waits for that: its block may have become final on another branch. By one caller at a time.
with ready as (
    select n.* from batch_event n cross join chain_mark m
     where n.open and n.block_number <= m.final
       and not exists (select from announcement a where a.batch_id = n.batch_id)
     order by n.block_number, n.batch_id limit $1),
  closed as (
    update batch_event n set open = false from ready r where n.id = r.id returning n.id),
  log as (
    update batch_event_log set newest = newest + (select count(*) from closed)
     where exists (select from closed) returning newest)
insert into batch_event (id, kind, batch_id, commitment, block_number, block_hash, transaction, reading_count,
                         rejected_count, window_start, window_end, finality, open)
select log.newest - count(*) over () + row_number() over (order by r.block_number, r.batch_id), 'final', r.batch_id,
       r.commitment, r.block_number, r.block_hash, r.transaction, r.reading_count, r.rejected_count, r.window_start,
       r.window_end, 'finalised', false
  from ready r cross join log
returning id

-- name: prune_events
-- All but the newest $1, at most $2 at a time, once there are $3 to go. A batch that is not final yet keeps its event.
with log as (
    update batch_event_log set pruned = least(newest - $1::bigint, pruned + $2::bigint)
     where newest - $1::bigint >= pruned + $3::bigint returning pruned)
delete from batch_event e using log where e.id <= log.pruned and not e.open

-- name: event_log
select generation, newest, pruned from batch_event_log

-- name: renew_events
-- From now on no cursor of before is known.
update batch_event_log set generation = substring(uuid_send(gen_random_uuid()) from 1 for 6)

-- name: event_tag
select tag from batch_event where id = $1

-- name: events_after
select e.*, l.generation from batch_event e cross join batch_event_log l
 where e.id > $1 order by e.id limit $2

-- name: announced
-- Whether anything still waits for its number.
select exists (select from announcement)
