-- When answers change. A client asks whether anything has since its copy was made (ETag), an export whether the
-- blocks that it stands on are still there.

-- One row, so that its number is of exactly what a reader sees: a sequence would move before its transaction is there
-- to be seen. A `life` of its own for each database: no two of them mean different things by one number.
create table change (life uuid not null default gen_random_uuid(), number bigint not null);
insert into change (number) values (0);

create function note_change() returns trigger language plpgsql as $$
begin
    update change set number = number + 1;
    return null;
end $$;

-- The mirror's transactions are short; they note it as they go.
create trigger block_mirrored after insert on block for each statement execute function note_change();
create trigger marks_moved after update on chain_mark for each row execute function note_change();

-- Verdicts come with a hundred thousand rows: the one row of `change` is locked at their very end, after every other
-- lock, so that nobody waits for it longer than a commit takes, and nobody for each other.
create constraint trigger verdict_changed after insert or delete on batch_file deferrable initially deferred
    for each row execute function note_change();
create constraint trigger verdict_turned after update of state, reason on batch_file deferrable initially deferred
    for each row when ((old.state, old.reason) is distinct from (new.state, new.reason)) execute function note_change();
create trigger verdicts_emptied after truncate on batch_file for each statement execute function note_change();
create constraint trigger epoch_judged after insert or delete on reward_epoch deferrable initially deferred
    for each row execute function note_change();

-- A row a rollback; few enough to be kept.
create table rollback (id bigint generated always as identity primary key, to_block bigint not null);
create constraint trigger rolled_back after insert on rollback deferrable initially deferred
    for each row execute function note_change();
