-- The upper levels of both trees of a verified batch (corechain.protocol.levels): a proof hashes 64 leaves instead of
-- all. External, as the leaves are: hashes do not shrink, and a part of a compressed value costs as much as the whole.
-- Null for batches that were verified before: the indexer fills them in (store/levels.py).
alter table batch_file add column tree_levels bytea;
alter table batch_file alter column tree_levels set storage external;
create index batch_file_without_levels on batch_file (batch_id) where state = 'verified' and tree_levels is null;
