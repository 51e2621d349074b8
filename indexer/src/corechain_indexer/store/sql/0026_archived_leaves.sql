-- Leaves of old batches that were moved out of Postgres into a file (store/archive.py): the commitment, which is the
-- file's name. batch_file.leaves is null then, and packed_leaves has no row of the batch.
alter table batch_file add column archived bytea;
create index batch_file_unarchived on batch_file (window_end)
 where state = 'verified' and leaves is null and archived is null;

-- What the series database must take out again (0018, 0021).
alter table outbox add column archived bytea;
create or replace function note_leaves() returns trigger language plpgsql as $$
begin
    if exists (select from sink where name = 'series' and target <> '') then
        select leaves, case when leaves is null then packed_blocks(batch_id, 0, 2147483647) end, archived
          into new.leaves, new.packed, new.archived from batch_file where batch_id = new.batch_id;
    end if;
    return new;
end $$;
