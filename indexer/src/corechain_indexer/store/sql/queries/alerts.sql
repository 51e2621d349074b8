-- name: unverified_batches
-- The first ones, and those of $2 that still are.
(select batch_id, state, reason from batch_file where state <> 'verified' order by batch_id limit $1)
union
(select batch_id, 'pending', null from unjudged_batch order by block_number limit $1)
union
(select batch_id, state, reason from batch_file where state <> 'verified' and batch_id = any($2::bigint[]))
union
(select batch_id, 'pending', null from unjudged_batch where batch_id = any($2::bigint[]))

-- name: deep_rollbacks
-- Until the chain is as long again as it was, and once at least.
select r.id, r.from_block, r.to_block from rollback r
 where r.from_block - r.to_block >= $1 and r.to_block >= 0
   and not exists (select from alert a where a.kind = 'reorg' and a.key = r.id::text
                      and (a.resolved_at is not null
                           or (a.fired_at is not null and (select max(number) from block) >= r.from_block)))
 order by r.id desc

-- name: challenges_due
-- Challenges of state channels whose deadline is between two moments, and that nobody has answered or closed. All of
-- them, here and below: an open alert that is not in the answer would be told as over.
select e.channel_id, o.party_a, o.party_b, e.version, e.deadline
  from state_channel_event e
  join state_channel_event o on o.channel_id = e.channel_id and o.kind = 'opened'
 where e.kind = 'challenged' and e.deadline > $1 and e.deadline <= $2
   and ($3::bytea[] is null or o.party_a = any($3) or o.party_b = any($3))
   and not exists (select from state_channel_event l
                    where l.channel_id = e.channel_id and l.kind in ('challenged', 'closed')
                      and (l.block_number, l.log_index) > (e.block_number, e.log_index))
 order by e.deadline

-- name: wrong_roots
-- Reward roots that stand and did not come out; what can be claimed from `active_at` on.
select p.epoch, p.active_at from epoch p join reward_epoch w using (block_number, log_index)
 where w.state = 'mismatch' order by p.epoch desc
