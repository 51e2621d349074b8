-- Kept are all blocks that are not final, the newest one that is (below it nobody looks for a fork), and the
-- oldest, which tells this chain from another one while a node is too far behind to be compared otherwise.

alter table block add column final boolean not null default false;
