-- Batches come by thousands while a chain is mirrored. A query for each row, and a foreign key's look at the batch that
-- was written a moment before, were three quarters of what they cost.

-- Which of two commitments stands is decided before rows are written (store/inserts.py). The unique key stays.
drop trigger batch_first_commitment on batch;
drop function keep_first_commitment();

-- Rows come from `batch` in its own transaction, and leave with it.
alter table unjudged_batch drop constraint unjudged_batch_batch_id_fkey;

create function forget_unjudged() returns trigger language plpgsql as $$
begin
    -- By the statement, so after what a verdict that goes with its batch may have written.
    delete from unjudged_batch u using gone where u.batch_id = gone.batch_id;
    return null;
end $$;
create trigger batch_gone after delete on batch
    referencing old table as gone for each statement execute function forget_unjudged();

create function forget_all_unjudged() returns trigger language plpgsql as $$
begin
    delete from unjudged_batch;
    return null;
end $$;
create trigger batch_emptied after truncate on batch for each statement execute function forget_all_unjudged();

-- The lock waits for a rollback that is taking the batch, as the foreign key's did; after it there is no row to select.
create or replace function note_unjudged() returns trigger language plpgsql as $$
begin
    insert into unjudged_batch (batch_id, block_number)
    select batch_id, block_number from batch where batch_id = old.batch_id for key share
        on conflict do nothing;
    return null;
end $$;
