-- name: claim_shard
insert into shard (number, layout) values ($1, $2) on conflict do nothing

-- name: named_before
-- Which other place of the settings leads to this database, as that place's connection says by a lock (the next query).
-- Two schemas of one database are two.
select objid::int as place
  from pg_locks
 where locktype = 'advisory' and objsubid = 2
   and classid = ($1::int # hashtext(coalesce(current_schema(), '')))::oid
   and database = (select oid from pg_database where datname = current_database())
 order by objid limit 1

-- name: name_database
select pg_advisory_lock($1::int # hashtext(coalesce(current_schema(), '')), $2::int)

-- name: claimed_shard
select number, layout, count from shard

-- name: hold
-- Whether the batch's segments are still to be written. A second writer waits here for the first one. Each time it is
-- another version: who wants to drop the batch has seen one, and drops no other.
insert into held (batch_id, token, block_number) values ($1, $2, $3)
    on conflict (batch_id, token) do update
   set block_number = excluded.block_number, version = nextval('held_version'), settled = false
returning xmax = 0

-- name: held_version
select version from held where batch_id = $1 and token = $2

-- name: drop_held
with gone as (delete from held where batch_id = $1 and token = $2 and version = $3 returning batch_id)
delete from segment s using gone where s.batch_id = $1 and s.token = $2

-- name: settle
update held set settled = true where batch_id = $1 and token = $2 and not settled

-- name: unsettled
select batch_id, token from held where not settled order by batch_id, token limit $1

-- name: held_after
select batch_id, token from held where (batch_id, token) > ($1, $2) order by batch_id, token limit $3

-- name: devices_of
select distinct device from segment where batch_id = $1 and token = $2

-- name: devices_after
-- Every device that has data, each by one look into the index; the first $2 behind one.
with recursive d (device) as (
    (select device from segment where device > $1 order by device limit 1)
    union all
    select (select s.device from segment s where s.device > d.device order by s.device limit 1)
      from d where d.device is not null)
select device from d where device is not null and divided_by($3) limit $2

-- name: empty_shard
-- Of a rebuild: the next index that is given this database takes it as new.
with h as (delete from held), s as (delete from segment)
delete from shard

-- name: audit_segments
select batch_id, cell, first_at, last_at, sum, position, count, metric, min, max, last, flag, device
  from segment where batch_id = $1 and token = $2 and divided_by($3) and owner_of(device, $3) = (select number from shard)

-- name: audit_stray_segments
-- Batches with segments that are said to stand, or of which nothing is said; each by one look into the index.
with recursive found (batch_id, token) as (
    (select batch_id, token from segment order by batch_id, token limit 1)
    union all
    select n.batch_id, n.token
      from found f cross join lateral
           (select s.batch_id, s.token from segment s
             where (s.batch_id, s.token) > (f.batch_id, f.token) order by s.batch_id, s.token limit 1) n)
select batch_id, token from found f
 where divided_by($1) and not exists (select from held h where h.batch_id = f.batch_id and h.token = f.token and not h.settled)

-- name: shard_status
-- Segments as the last analyze counted them: to count a billion takes minutes.
select (select count(*) from held) as batches, (select count(*) from held where not settled) as unsettled,
       (select greatest(reltuples, 0)::bigint from pg_class where oid = 'segment'::regclass) as segments,
       pg_database_size(current_database()) as bytes
