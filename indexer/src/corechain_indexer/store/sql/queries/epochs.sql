-- name: next_epoch
-- The oldest proposal that was not recomputed yet. Vetoed ones are judged, too: whether the veto or the judge
-- came first must make no difference.
select p.block_number, p.log_index, p.epoch, p.root, p.through_block, p.emission, e.block_hash
  from root_event p join event e using (block_number, log_index)
  left join reward_epoch w using (block_number, log_index)
 where p.kind = 'proposed' and w.block_number is null
 order by p.block_number, p.log_index limit 1

-- name: unsettled_through
-- Whether the data of a batch up to a block is not verified: an epoch over it cannot be recomputed.
select exists (select from unjudged_batch where block_number <= $1)
    or exists (select from batch_file f
                where f.state <> 'verified'
                  and (select block_number from batch b where b.batch_id = f.batch_id) <= $1)

-- name: epoch_before
-- The proposal of an epoch that stood at a place: the last one before it, unless it was vetoed by then.
select p.block_number, p.log_index, p.through_block, w.state
  from root_event p left join reward_epoch w using (block_number, log_index)
 where p.kind = 'proposed' and p.epoch = $1 and (p.block_number, p.log_index) < ($2, $3)
   and not exists (select from root_event v
                    where v.kind = 'vetoed' and v.epoch = p.epoch
                      and (v.block_number, v.log_index) > (p.block_number, p.log_index)
                      and (v.block_number, v.log_index) < ($2, $3))
 order by p.block_number desc, p.log_index desc limit 1

-- name: batches_of_epoch
-- The verified batches of the blocks behind $1 up to $2.
select b.batch_id
  from batch b join batch_file f using (batch_id)
 where b.block_number > $1 and b.block_number <= $2 and f.state = 'verified' order by b.batch_id

-- name: files_of_epoch
-- The leaves of some batches, or where they are.
select f.leaves, case when f.leaves is null then packed_blocks(f.batch_id, 0, 2147483647) end as packed,
       f.archived
  from batch_file f where f.batch_id = any($1::bigint[]) order by f.batch_id

-- name: owners_at
-- Who owned which device at the end of a block: the last word of its own slot, else the first fleet that lists it.
select distinct on (device) device, owner
  from (select device, owner, 0 as source, -block_number as block_order, -log_index as log_order
          from device_event
         where block_number <= $1 and kind in ('registered', 'materialised', 'transferred')
         union all
        select device, owner, 1, block_number, log_index from fleet_device where block_number <= $1) said
 order by device, source, block_order, log_order

-- name: epoch_leaves
select owner, cumulative from reward_leaf where block_number = $1 and log_index = $2 order by position

-- name: reward_levels
-- Of the root that is meant: a reorg may have put another into its place.
select w.owners, w.tree_levels from reward_epoch w join root_event p using (block_number, log_index)
 where w.block_number = $1 and w.log_index = $2 and w.state = 'verified' and p.root = $3

-- name: reward_block
-- The 64 leaves among which an owner's is; none for an owner without one.
select l.position, l.owner, l.cumulative
  from reward_leaf o join reward_leaf l using (block_number, log_index)
 where o.block_number = $1 and o.log_index = $2 and o.owner = $3
   and l.position between o.position / 64 * 64 and o.position / 64 * 64 + 63
 order by l.position

-- name: epoch_without_levels
select w.block_number, w.log_index, p.root from reward_epoch w join root_event p using (block_number, log_index)
 where w.state = 'verified' and w.tree_levels is null limit 1

-- name: fill_epoch_levels
-- The root says that it is still the epoch from whose leaves the levels were made.
update reward_epoch w set owners = $3, tree_levels = $4 from root_event p
 where p.block_number = w.block_number and p.log_index = w.log_index and p.root = $5
   and w.block_number = $1 and w.log_index = $2 and w.state = 'verified'

-- name: settle_epoch
-- Only while the very event stands that was judged: another block may have another root at the same place.
insert into reward_epoch (block_number, log_index, epoch, state, owners, tree_levels)
select p.block_number, p.log_index, p.epoch, $4, $5, $6
  from root_event p join event e using (block_number, log_index)
 where p.block_number = $1 and p.log_index = $2 and e.block_hash = $3 for key share of p
    on conflict do nothing returning epoch

-- name: epochs
select e.epoch, e.root, e.through_block, e.emission, e.active_at, e.block_number, coalesce(w.state, 'pending') as state,
       finality_of(e.block_number, m.safe, m.final) as finality
  from epoch e left join reward_epoch w using (block_number, log_index) cross join chain_mark m
 where e.epoch > $1 order by e.epoch limit $2

-- name: claimable
-- The newest verified epoch whose window has passed at a time (seconds).
select e.epoch, e.root, e.block_number, e.log_index from epoch e join reward_epoch w using (block_number, log_index)
 where w.state = 'verified' and e.active_at <= $1 order by e.epoch desc limit 1

-- name: claimed
select coalesce(max(cumulative), 0) as claimed from claim_event where owner = $1
