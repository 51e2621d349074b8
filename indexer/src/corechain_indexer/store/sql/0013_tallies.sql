-- How many batches are in which state, kept as it changes: counting a million takes half a second of each look at
-- the status. Changes are added as rows, not to a sum: transactions that verify batches side by side would wait
-- for each other at one row. The mirror adds them up with each range of blocks (`fold_tally`).

create table tally (
    state    text not null,
    batches  bigint not null,
    readings bigint not null,
    rejected bigint not null
);

create function note_pending() returns trigger language plpgsql as $$
declare
    change integer := case tg_op when 'INSERT' then 1 else -1 end;
begin
    insert into tally (state, batches, readings, rejected)
    select 'pending', change * count(*), 0, 0 from changed having count(*) > 0;
    return null;
end $$;
create trigger unjudged_more after insert on unjudged_batch
    referencing new table as changed for each statement execute function note_pending();
create trigger unjudged_fewer after delete on unjudged_batch
    referencing old table as changed for each statement execute function note_pending();

create function note_verdicts() returns trigger language plpgsql as $$
declare
    change integer := case tg_op when 'INSERT' then 1 else -1 end;
begin
    insert into tally (state, batches, readings, rejected)
    select state, change * count(*), change * coalesce(sum(reading_count), 0),
           change * coalesce(sum(rejected_count), 0)
      from changed group by state;
    return null;
end $$;
create trigger verdicts_more after insert on batch_file
    referencing new table as changed for each statement execute function note_verdicts();
create trigger verdicts_fewer after delete on batch_file
    referencing old table as changed for each statement execute function note_verdicts();

create function note_other_verdicts() returns trigger language plpgsql as $$
begin
    insert into tally (state, batches, readings, rejected)
    select state, sum(change), sum(change * coalesce(reading_count, 0)), sum(change * coalesce(rejected_count, 0))
      from (select state, reading_count, rejected_count, 1 as change from after_it
            union all
            select state, reading_count, rejected_count, -1 from before_it) moved
     group by state;
    return null;
end $$;
create trigger verdicts_changed after update on batch_file
    referencing old table as before_it new table as after_it
    for each statement execute function note_other_verdicts();

insert into tally (state, batches, readings, rejected)
select coalesce(f.state, 'pending'), count(*), coalesce(sum(f.reading_count), 0), coalesce(sum(f.rejected_count), 0)
  from batch b left join batch_file f using (batch_id) group by 1;

-- A rollback takes a batch's rollups with it: without this it looks through those of all batches.
create index rollup_batch on rollup (batch_id);

-- Everything that a page shows, so that it is read from the index alone: 26 pages a hundred readings, where a row of
-- the table for each made it 106.
create index reading_shown on reading (device, metric, observed_at, batch_id, position) include (cell, value, flag);
drop index reading_device;
