-- Blocks of the batches without a verdict: an epoch cannot be recomputed before those up to its block have one. The
-- batch with the lowest id says nothing of the others: lanes number their batches apart, and the contract lets one
-- be committed after the next.
alter table unjudged_batch add column block_number bigint;
update unjudged_batch u set block_number = b.block_number from batch b where b.batch_id = u.batch_id;
alter table unjudged_batch alter column block_number set not null;
create index unjudged_batch_block on unjudged_batch (block_number);

create or replace function note_committed() returns trigger language plpgsql as $$
begin
    insert into unjudged_batch (batch_id, block_number) select batch_id, block_number from fresh;
    return null;
end $$;

create or replace function note_unjudged() returns trigger language plpgsql as $$
begin
    insert into unjudged_batch (batch_id, block_number)
    select batch_id, block_number from batch where batch_id = old.batch_id
        on conflict do nothing;
    return null;
end $$;
