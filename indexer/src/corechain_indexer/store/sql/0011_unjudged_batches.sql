-- Batches without a verdict, so that the verifier finds them without going through all that ever were: it looks
-- twice a second, and a join of a million batches takes a third of one. Kept by triggers: whatever brings a batch
-- or takes a verdict away cannot forget it.

create table unjudged_batch (
    batch_id bigint primary key references batch (batch_id) on delete cascade
);
insert into unjudged_batch (batch_id)
select b.batch_id from batch b left join batch_file f using (batch_id) where f.batch_id is null;

-- By the statement: the mirror copies thousands of batches at once.
create function note_committed() returns trigger language plpgsql as $$
begin
    insert into unjudged_batch (batch_id) select batch_id from fresh;
    return null;
end $$;
create trigger batch_committed after insert on batch
    referencing new table as fresh for each statement execute function note_committed();

create function note_judged() returns trigger language plpgsql as $$
begin
    delete from unjudged_batch where batch_id = new.batch_id;
    return null;
end $$;
create trigger batch_file_judged after insert on batch_file for each row execute function note_judged();

-- A verdict that goes while the batch stays. (Where a reorg takes the batch, there is no row to select.)
create function note_unjudged() returns trigger language plpgsql as $$
begin
    insert into unjudged_batch (batch_id) select batch_id from batch where batch_id = old.batch_id
        on conflict do nothing;
    return null;
end $$;
create trigger batch_file_gone after delete on batch_file for each row execute function note_unjudged();

-- The few that have a verdict and no readings: what an epoch cannot be recomputed over.
create index batch_file_unverified on batch_file (batch_id) where state <> 'verified';
