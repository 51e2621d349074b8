-- The upper levels of an epoch's reward tree (corechain.protocol.reward_levels), with its number of owners: a claim
-- hashes 64 leaves instead of all. They go with the verdict, so a reorg takes them, too. Null for a root that did not
-- come out, and for epochs that were verified before: the indexer fills those in (store/epochs.py).
alter table reward_epoch add column owners integer;
alter table reward_epoch add column tree_levels bytea;
alter table reward_epoch alter column tree_levels set storage external;
create index reward_epoch_without_levels on reward_epoch (block_number)
 where state = 'verified' and tree_levels is null;

-- An owner has a leaf in every epoch: with its place in the key, the one of an epoch is one row.
create index reward_leaf_place on reward_leaf (owner, block_number, log_index, position);
drop index reward_leaf_owner;
