-- The upper levels of an archived batch's trees are in its file, behind the leaves, and null here. Only what lies in
-- Postgres with its leaves can lack them.
drop index batch_file_without_levels;
create index batch_file_without_levels on batch_file (batch_id)
 where state = 'verified' and tree_levels is null and archived is null;
