-- name: shard_layout
select id, count, step from shard_layout

-- name: has_segments
select exists (select from segment)

-- name: keep_layout
-- Who writes or drops segments keeps the layout as it is until the end of the transaction. Read it after this.
select pg_advisory_xact_lock_shared(hashtextextended('corechain shard layout', 0))

-- name: change_layout
-- Waits for all of them.
select pg_advisory_xact_lock(hashtextextended('corechain shard layout', 0))

-- name: set_layout
update shard_layout set count = $1, step = $2

-- name: moved_up_to
select batch_id, token, batches from shard_move where shard = $1

-- name: note_moved
insert into shard_move (shard, batch_id, token, batches) values ($1, $2, $3, $4)
    on conflict (shard) do update
   set batch_id = excluded.batch_id, token = excluded.token, batches = shard_move.batches + excluded.batches

-- name: forget_moves
delete from shard_move

-- name: lock_batches
-- As `lock_batch`, of several: in their order, so that two who do so do not wait for each other.
select pg_advisory_xact_lock(hashtextextended('corechain shards', n.batch_id))
  from (select batch_id from unnest($1::bigint[]) batch_id order by batch_id) n

-- name: lay_out
-- Only an index that has no reading yet: those that it has would be found no more.
insert into shard_layout (count)
select $1 where not exists (select from segment) on conflict do nothing

-- name: forget_layout
with g as (delete from gone_batch), m as (delete from shard_move)
delete from shard_layout

-- name: lock_batch
-- Who writes a batch's segments to the shards, and who takes them away, wait for each other.
select pg_advisory_xact_lock(hashtextextended('corechain shards', $1))

-- name: block_of
select block_number from batch where batch_id = $1 and block_hash = $2

-- name: commitment_of
select commitment from batch where batch_id = $1

-- name: fallen
-- Which of some batches that shards have do not stand.
select n.batch_id, n.token from unnest($1::bigint[], $2::bigint[]) n (batch_id, token)
 where not exists (select from batch b join batch_file f using (batch_id)
                    where b.batch_id = n.batch_id and token_of(b.commitment) = n.token and f.state = 'verified')

-- name: gone_lately
select batch_id, token_of(commitment) as token from gone_batch

-- name: gone_batches
select id, batch_id, token_of(commitment) as token from gone_batch where cleaned_at is null order by id limit $1

-- name: note_cleaned
update gone_batch set cleaned_at = now() where id = $1

-- name: forget_gone
delete from gone_batch where cleaned_at < now() - interval '10 minutes'

-- name: mark_devices_stale
insert into stale_device (device)
select n.device from unnest($1::bytea[]) n (device)
 where not exists (select from stale_device s where s.device = n.device)

-- name: unsettle_verdicts_of
-- As `unsettle_verdicts`; $3 are batches in which shards have readings of the devices.
delete from batch_file f using batch b
 where b.batch_id = f.batch_id and b.block_number >= $1
   and (f.state = 'mismatch' or f.batch_id = any($3::bigint[])
        or exists (select from rejection r where r.batch_id = f.batch_id and r.device = any($2::bytea[])))

-- name: judged_segments
-- What `reading_segments` gives, of segments that a shard has; `standing`: whether the batch is verified, now.
select s.metric, s.first_at, s.batch_id, s.position, s.last, s.flag, s.cell,
       finality_of(b.block_number, m.safe, m.final) as finality,
       s.count, run.leaves, run.packed, run.archived, s.token, f.batch_id is not null as standing
  from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[], $5::integer[], $6::smallint[], $7::bigint[],
              $8::integer[], $9::bigint[])
       s (metric, first_at, batch_id, position, last, flag, cell, count, token)
 cross join chain_mark m
  left join batch b on b.batch_id = s.batch_id and token_of(b.commitment) = s.token
  left join batch_file f on f.batch_id = b.batch_id and f.state = 'verified'
  left join lateral (
       select substring(g.leaves from 1 + 40 * s.position for 40 * s.count) as leaves,
              case when g.leaves is null
                   then packed_blocks(g.batch_id, s.position / 1024, (s.position + s.count - 1) / 1024) end as packed,
              g.archived
         from batch_file g where g.batch_id = case when s.count > 1 then f.batch_id end) run on true

-- name: judged_newest
-- What `newest_readings` gives, of readings that shards have.
select n.device, n.metric, n.observed_at, n.value, n.flag, n.batch_id, n.position, n.cell,
       finality_of(b.block_number, m.safe, m.final) as finality, n.token, f.batch_id is not null as standing
  from unnest($1::bytea[], $2::integer[], $3::bigint[], $4::integer[], $5::smallint[], $6::bigint[], $7::integer[],
              $8::bigint[], $9::bigint[])
       n (device, metric, observed_at, value, flag, batch_id, position, cell, token)
 cross join chain_mark m
  left join batch b on b.batch_id = n.batch_id and token_of(b.commitment) = n.token
  left join batch_file f on f.batch_id = b.batch_id and f.state = 'verified'
 order by n.device, n.metric

-- name: judged_whereabouts
-- What `whereabouts` gives, of what a shard has of the window [$7, $8], so many batches ($9) and cells ($10) at the
-- most; and tokens of what does not stand.
with known as (
       select w.*, f.batch_id is not null as standing, f.leaves
         from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::integer[], $6::integer[])
              w (kind, batch_id, token, cell, position, count)
         left join batch b on b.batch_id = w.batch_id and token_of(b.commitment) = w.token
         left join batch_file f on f.batch_id = b.batch_id and f.state = 'verified')
select array(select distinct batch_id from known where kind = 'batch' order by batch_id limit $9) as batches,
       array(select distinct cell from known k
              where kind = 'cell'
                 or (kind = 'perhaps'
                     and (leaves is null
                          or exists (select from (select substring(k.leaves from 1 + 40 * k.position for 40 * k.count)
                                                  offset 0) run (leaves)
                                      cross join generate_series(0, k.count - 1) n
                                      where ('x' || encode(substring(run.leaves from 31 + 40 * n for 5), 'hex'))
                                            ::bit(40)::bigint between $7 and $8)))
              order by cell limit $10) as cells,
       array(select token from known where not standing) as fallen

-- name: judged_near
-- What `segments_near` gives, of segments that a shard has.
select s.batch_id, b.commitment, b.block_number, finality_of(b.block_number, m.safe, m.final) as finality,
       s.cell, s.first_at, s.last_at, s.token, f.batch_id is not null as standing
  from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
       s (batch_id, token, cell, first_at, last_at)
 cross join chain_mark m
  left join batch b on b.batch_id = s.batch_id and token_of(b.commitment) = s.token
  left join batch_file f on f.batch_id = b.batch_id and f.state = 'verified'

-- name: judged_series
-- What `series` gives of segments that are to be opened, of those that a shard has.
select s.bucket, s.count, s.sum, s.min, s.max, false as whole, s.position,
       substring(f.leaves from 1 + 40 * s.position for 40 * s.count) as leaves,
       case when f.leaves is null
            then packed_blocks(f.batch_id, s.position / 1024, (s.position + s.count - 1) / 1024) end as packed,
       f.archived, s.token, f.batch_id is not null as standing
  from unnest($1::bigint[], $2::integer[], $3::bigint[], $4::integer[], $5::integer[], $6::integer[], $7::bigint[],
              $8::bigint[])
       s (bucket, count, sum, min, max, position, batch_id, token)
  left join batch b on b.batch_id = s.batch_id and token_of(b.commitment) = s.token
  left join batch_file f on f.batch_id = b.batch_id and f.state = 'verified'

-- name: judged_contents
-- What `batch_contents` gives, of what shards have. A batch that stands has been on them before.
select b.batch_id, b.commitment, s.device, s.metric, s.cell
  from batch b join batch_file f using (batch_id)
  left join unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::integer[], $6::bigint[])
            s (batch_id, token, device, metric, cell)
    on s.batch_id = b.batch_id and s.token = token_of(b.commitment)
 where b.batch_id = any($1::bigint[]) and f.state = 'verified'
