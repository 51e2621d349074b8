-- name: decoded
select topic, name, revision, through from decoded order by topic

-- name: decode_anew
insert into decoded (topic, name, revision, through) values ($1, $2, $3, $4)
    on conflict (topic) do update
   set name = excluded.name, revision = excluded.revision, through = excluded.through

-- name: forget_decoded
delete from decoded where topic = any($1::bytea[])

-- name: move_decoded
update decoded set through = $2 where topic = any($1::bytea[])

-- name: end_of_range
-- The block in which the $3-th log behind block $1 is, up to $2: by the key alone, whatever the logs are.
select block_number from event where block_number > $1 and block_number <= $2
 order by block_number, log_index offset $3 limit 1

-- name: raw_logs
select address, topics, data, block_number, block_hash, transaction, log_index from event
 where block_number > $1 and block_number <= $2 and substring(topics from 1 for 32) = any($3::bytea[])
 order by block_number, log_index

-- name: is_mirrored
-- Whether a contract has been seen.
select exists (select from event where address = $1)

-- name: unsettle_verdicts
-- Verdicts on what these devices said, from a block on, and those for which no reading is kept.
delete from batch_file f using batch b
 where b.batch_id = f.batch_id and b.block_number >= $1
   and (f.state = 'mismatch'
        or exists (select from segment s where s.batch_id = f.batch_id and s.device = any($2::bytea[]))
        or exists (select from merged_batch g
                     join segment s on s.device = any($2::bytea[]) and s.count < 0 and s.last_at / 86400 = g.day
                    where g.batch_id = f.batch_id and g.batch_id - s.batch_id = any(s.batch_steps))
        or exists (select from rejection r where r.batch_id = f.batch_id and r.device = any($2::bytea[])))

-- name: unsettle_epochs
-- Roots that were recomputed from what is known now to be incomplete, from a block on.
delete from reward_epoch where block_number >= $1

-- name: coverage
-- All of what says how complete the index is, as of one moment.
select coalesce((select max(number) from block), -1) as indexed, s.*, d.*
  from (select coalesce(array_agg(address order by address), '{}') as addresses,
               array_agg(joined order by address) as joined, array_agg(through order by address) as reached
          from source) s,
       (select coalesce(array_agg(topic order by topic), '{}') as topics,
               array_agg(revision order by topic) as revisions, array_agg(through order by topic) as throughs
          from decoded) d
