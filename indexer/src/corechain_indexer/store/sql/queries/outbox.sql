-- name: outbox
-- What a sink has to be told next. `standing`: the very batch is verified, now.
select o.id, o.kind, o.batch_id, o.commitment, f.batch_id is not null as standing,
       f.reading_count, f.window_start, f.window_end
  from outbox o
  left join batch b on b.batch_id = o.batch_id and b.commitment = o.commitment
  left join batch_file f on f.batch_id = b.batch_id and f.state = 'verified'
 where o.sink = $1 order by o.id limit $2

-- name: emitted
delete from outbox where id = $1

-- name: new_generation
-- From now on nothing that was cached before is trusted, and nothing that another run than these has.
update sink set generation = gen_random_uuid(), target = $1 where name = 'cache' returning generation

-- name: sink_target
select target from sink where name = $1

-- name: set_sink_target
update sink set target = $2 where name = $1

-- name: forget_pending
delete from outbox where sink = $1

-- name: add_all
-- Everything from the beginning, for a store that was not the one before.
insert into outbox (sink, kind, batch_id, commitment)
select $1, 'add', batch_id, b.commitment from batch_file f join batch b using (batch_id)
 where f.state = 'verified' order by batch_id

-- name: all_stale
-- Every device that has data, each by one look into the index.
with recursive d (device) as (
    (select device from segment order by device limit 1)
    union all
    select (select s.device from segment s where s.device > d.device order by s.device limit 1)
      from d where d.device is not null)
insert into stale_device (device)
select d.device from d
 where d.device is not null and not exists (select from stale_device s where s.device = d.device)

-- name: stale_devices
select id, device from stale_device order by id limit $1

-- name: refreshed
delete from stale_device where id = any($1::bigint[])

-- name: cache_state
-- Whether anything has changed since `cache_checks` was asked: while `change` is the same, so are verdicts and
-- finality. (A generation is not counted there, and neither are devices that a new one finds stale.)
select c.life || '-' || c.number as change, s.generation::text as generation, s.target as runs,
       exists (select from outbox where sink = 'cache')
       or exists (select from gone_batch where cleaned_at is null) as behind,
       exists (select from stale_device) as stale
  from sink s cross join change c where s.name = 'cache'

-- name: cache_checks
-- Whether cached values of some devices from some batches may be served: what is stale of the former, what stands of
-- the latter, and how sure it is, as of `change`. All of it by index.
-- (Which devices a batch on shards made stale, these have to tell.)
select c.life || '-' || c.number as change, s.generation::text as generation, s.target as runs,
       exists (select from outbox where sink = 'cache')
       or exists (select from gone_batch where cleaned_at is null) as behind,
       array(select distinct device from stale_device where device = any($1::bytea[])) as stale,
       (select json_object_agg(b.batch_id, finality_of(b.block_number, m.safe, m.final))
          from batch b join batch_file f using (batch_id) cross join chain_mark m
         where b.batch_id = any($2::bigint[]) and f.state = 'verified') as finality
  from sink s cross join change c where s.name = 'cache'

-- name: newest_readings
-- The newest reading of each device and metric: one look into the index each.
select d.device, c.metric, n.observed_at, n.value, n.flag, n.batch_id, n.position, n.cell,
       finality_of(b.block_number, m.safe, m.final) as finality
  from unnest($1::bytea[]) d(device) cross join unnest($2::integer[]) c(metric)
 cross join lateral (
       select last_at as observed_at, last as value, flag, batch_id, position + greatest(count, 1) - 1 as position, cell
         from segment s
        where s.device = d.device and s.metric = c.metric
        order by s.device desc, s.metric desc, s.last_at desc, s.batch_id desc, s.position desc limit 1) n
  join batch b on b.batch_id = n.batch_id cross join chain_mark m
 order by d.device, c.metric

-- name: newest_readings_as_of
-- The newest reading of each device and metric, of batches up to a block: one look into the index each, and more
-- where the newest are of later blocks.
select d.device, c.metric, n.observed_at, n.value, n.flag, n.batch_id, n.position, n.cell,
       finality_of(b.block_number, m.safe, m.final) as finality
  from unnest($1::bytea[]) d(device) cross join unnest($2::integer[]) c(metric)
 cross join lateral (
       select * from (
       (select last_at as observed_at, last as value, flag, batch_id, position + greatest(count, 1) - 1 as position, cell
          from segment s
         where s.device = d.device and s.metric = c.metric
           and s.count > 0
           and exists (select from batch e where e.batch_id = s.batch_id and e.block_number <= $3)
         order by s.device desc, s.metric desc, s.last_at desc, s.batch_id desc, s.position desc limit 1)
         union all
       -- Of merged rows: the last day of which any reading is known by then, and the newest of those.
       (select r.observed_at, r.value, r.flag, r.batch_id, r.position, s.cell
          from (select last_at - mod(last_at, 86400) as day from segment s
                 where s.device = d.device and s.metric = c.metric and s.count < 0
                   and exists (select from entries_of(s) r join batch e using (batch_id) where e.block_number <= $3)
                 order by s.device desc, s.metric desc, s.last_at desc, s.batch_id desc, s.position desc limit 1) l
          join segment s on s.device = d.device and s.metric = c.metric and s.count < 0
                        and s.last_at between l.day and l.day + 86399
         cross join lateral entries_of(s) r
          join batch e on e.batch_id = r.batch_id and e.block_number <= $3
         order by r.observed_at desc, r.batch_id desc, r.position desc limit 1)) both_kinds
        order by observed_at desc, batch_id desc, position desc limit 1) n
  join batch b on b.batch_id = n.batch_id cross join chain_mark m
 order by d.device, c.metric
