-- name: shard_count
select count from shard

-- name: set_shard_count
update shard set count = $1 where count is distinct from $1

-- name: forget_moved
-- Of a shard that is not counted yet: what an attempt before has left on it.
with h as (delete from held)
delete from segment

-- name: held_page
-- With how each was held, for who copies it.
select batch_id, token, block_number, settled from held
 where (batch_id, token) > ($1, $2) order by batch_id, token limit $3

-- name: held_behind
select count(*) from held where (batch_id, token) > ($1, $2)

-- name: hold_copied
-- Those of some batches that were not held here.
insert into held (batch_id, token, block_number)
select * from unnest($1::bigint[], $2::bigint[], $3::bigint[]) order by 1, 2
on conflict do nothing returning batch_id, token, version

-- name: moving_segments
-- Of some batches, what is the shard's number $3 of $4.
select s.batch_id, s.cell, s.first_at, s.last_at, s.sum, s.position, s.count, s.metric, s.min, s.max, s.last, s.flag,
       s.device, s.token
  from unnest($1::bigint[], $2::bigint[]) n (batch_id, token) join segment s using (batch_id, token)
 where owner_of(s.device, $4::integer) = $3::integer

-- name: settle_copied
-- But for those that were dropped, or written anew, since.
update held h set settled = true
  from unnest($1::bigint[], $2::bigint[], $3::bigint[]) n (batch_id, token, version)
 where h.batch_id = n.batch_id and h.token = n.token and h.version = n.version

-- name: drop_moved
-- Of some batches, what belongs to another shard of $3.
delete from segment s using unnest($1::bigint[], $2::bigint[]) n (batch_id, token)
 where s.batch_id = n.batch_id and s.token = n.token and owner_of(s.device, $3::integer) <> (select number from shard)
