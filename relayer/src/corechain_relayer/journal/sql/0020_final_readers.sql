-- The Postgres session by which who reads on has kept its last piece: when it is gone, nobody waits for that one.
-- Null where an older version has written it.
alter table final_view add column reader_pid integer;
