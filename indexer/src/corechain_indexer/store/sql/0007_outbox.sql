-- What cache, series and subscribers must learn, written in the transaction that changes it: by triggers, so that
-- whatever takes a batch away (a reorg, a rebuild, another verdict) cannot forget it. Rows go once they were emitted.

create table sink (
    name       text primary key,
    target     text not null default '',  -- which store was filled last, as a digest
    generation uuid not null default gen_random_uuid()  -- the cache trusts entries of this one only
);
insert into sink (name) values ('cache'), ('series'), ('stream');

-- In order of id: for one batch, an `add` and the `retract` that undoes it never change places, because the delete
-- waits for the transaction that verified the batch.
create table outbox (
    id         bigint generated always as identity primary key,
    sink       text not null references sink (name),
    kind       text not null check (kind in ('add', 'retract')),
    batch_id   bigint not null,
    commitment bytea not null
);
create index outbox_sink on outbox (sink, id);

-- Devices whose newest values may have gone with a batch: until the cache was corrected, Postgres answers for them.
create table stale_device (
    id     bigint generated always as identity primary key,
    device bytea not null
);
create index stale_device_device on stale_device (device);

insert into outbox (sink, kind, batch_id, commitment)
select 'series', 'retract', batch_id, ''::bytea from retraction order by batch_id;
insert into outbox (sink, kind, batch_id, commitment)
select s.name, 'add', f.batch_id, b.commitment
  from batch_file f join batch b using (batch_id) cross join sink s
 where f.state = 'verified' and f.exported_at is null order by f.batch_id;
drop table retraction;
drop index batch_file_unexported;
alter table batch_file drop column exported_at;

create function note_verified() returns trigger language plpgsql as $$
begin
    insert into outbox (sink, kind, batch_id, commitment)
    select s.name, 'add', new.batch_id, b.commitment
      from sink s cross join batch b where b.batch_id = new.batch_id;
    return null;
end $$;
create trigger batch_file_verified after insert on batch_file
    for each row when (new.state = 'verified') execute function note_verified();
create trigger batch_file_turned_verified after update of state on batch_file
    for each row when (new.state = 'verified' and old.state <> 'verified') execute function note_verified();

create function note_undone(gone_id bigint, gone_commitment bytea) returns void language sql as $$
    insert into outbox (sink, kind, batch_id, commitment)
    select name, 'retract', gone_id, gone_commitment from sink where name <> 'cache';
    insert into stale_device (device) select distinct device from reading where batch_id = gone_id;
$$;

-- Before the row goes, while its readings are still there.
create function note_batch_undone() returns trigger language plpgsql as $$
begin
    if exists (select from batch_file where batch_id = old.batch_id and state = 'verified') then
        perform note_undone(old.batch_id, old.commitment);
    end if;
    return old;
end $$;
create trigger batch_undone before delete on batch for each row execute function note_batch_undone();

-- A verdict that goes while the batch stays. (Where the batch goes too, it was there first.)
create function note_verdict_undone() returns trigger language plpgsql as $$
begin
    perform note_undone(batch_id, commitment) from batch where batch_id = old.batch_id;
    return case tg_op when 'DELETE' then old else new end;
end $$;
create trigger batch_file_undone before delete on batch_file
    for each row when (old.state = 'verified') execute function note_verdict_undone();
create trigger batch_file_turned_unverified before update of state on batch_file
    for each row when (old.state = 'verified' and new.state <> 'verified') execute function note_verdict_undone();
