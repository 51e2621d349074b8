-- name: unfinal_blocks
-- Newest first, down to and with the newest final one: where a fork is looked for.
select number, hash from block
 where number >= coalesce((select max(number) from block where final), 0) order by number desc

-- name: oldest_block
select number, hash from block order by number limit 1

-- name: add_blocks
-- Blocks, and for this transaction no wait for the disk: what is mirrored follows from the chain, and after a crash
-- of Postgres the mirror goes on from the newest block that is there. No reader sees an order that was not: whoever
-- commits later and waits (a verdict) makes all that came before it durable too.
insert into block (number, hash)
select n.number, n.hash
  from unnest($1::bigint[], $2::bytea[]) n (number, hash),
       (select set_config('synchronous_commit', 'off', true)) faster

-- name: advance
-- Marks the newest block up to a final one ($1, hash $2) as final and drops those below it, unless another hash than
-- ours is called final: then our branch is gone, and where it left the other has still to be found. In the same way
-- the newest up to a safe one ($3, hash $4): a safe block of another branch than ours says nothing of ours.
with newest as (
    select max(number) as number from block
     where number <= $1 and not exists (select from block where number = $1 and hash <> $2)),
  marked as (
    update block b set final = true from newest n where b.number = n.number and not b.final),
  dropped as (
    delete from block b using newest n
     where b.number < n.number and b.number <> (select min(number) from block)),
  secure as (
    select max(number) as number from block
     where number <= $3 and not exists (select from block where number = $3 and hash <> $4)),
  told as (
    select coalesce(n.number, -1) as final, coalesce(s.number, -1) as safe from newest n cross join secure s)
update chain_mark m
   set final = greatest(m.final, told.final), safe = greatest(m.safe, m.final, told.final, told.safe)
  from told
 where m.final < told.final or m.safe < greatest(told.final, told.safe)

-- name: is_tagged
-- Whether the node is known to have the tag `finalized`.
select tagged from chain_mark

-- name: note_tagged
update chain_mark set tagged = true where not tagged

-- name: marks
-- The newest mirrored block, and those that count as safe and as final.
select coalesce((select max(number) from block), -1) as indexed, safe, final from chain_mark

-- name: roll_back
-- Everything after a block, in one statement; foreign keys take what hangs on it.
with n as (insert into rollback (to_block, from_block) select $1::bigint, max(number) from block),
     b as (delete from block where number > $1),
     -- Of a rebuild: what comes next is mirrored for all contracts of the deployment from the first block on.
     z as (delete from source where $1 < 0),
     y as (delete from decoded where $1 < 0),
     m as (update chain_mark set safe = least(safe, $1), final = least(final, $1), tagged = tagged and $1 >= 0),
     e as (delete from event where block_number > $1),
     d as (delete from device_event where block_number > $1),
     f as (delete from fleet_device where block_number > $1),
     r as (delete from root_event where block_number > $1),
     c as (delete from claim_event where block_number > $1),
     p as (delete from payment_channel where block_number > $1),
     q as (delete from payment_event where block_number > $1),
     s as (delete from state_channel_event where block_number > $1)
delete from batch where block_number > $1 returning batch_id

-- name: fold_tally
-- The changes of before as one row a state. By one caller at a time: the mirror.
with gone as (delete from tally returning state, batches, readings, rejected)
insert into tally (state, batches, readings, rejected)
select state, sum(batches), sum(readings), sum(rejected) from gone group by state

-- name: committed
-- Which of some batches are there.
select batch_id from batch where batch_id = any($1::bigint[])

-- name: begin_life
-- Numbers of changes mean something else from now on: a database that was restored, or has lost commits in a
-- failover, gives numbers out again.
update change set life = default;
