-- Spans of time whose downsampled points in a series database have to be made anew, because readings of them were
-- written or taken out. `vanished`: points may have to go. Ids ascend, so that what is added meanwhile stays.
create table series_stale (
    id       bigint generated always as identity primary key,
    sink     text not null references sink (name) on delete cascade,
    every_s  integer not null,
    first_at bigint not null,
    last_at  bigint not null,
    vanished boolean not null
);
create index series_stale_sink on series_stale (sink, every_s, last_at);

-- Which downsampled buckets were filled last, as a digest.
alter table sink add column downsampled text not null default '';

-- A sink a series database: 'series', 'series 2', … The outbox's triggers write for every sink that there is.
alter table series_refused add column sink text not null default 'series' references sink (name) on delete cascade;
alter table outbox drop constraint outbox_sink_fkey,
    add constraint outbox_sink_fkey foreign key (sink) references sink (name) on delete cascade;

create or replace function note_leaves() returns trigger language plpgsql as $$
begin
    -- Only for a series database that is filled: else a reorg would copy them for nobody.
    if exists (select from sink where name = new.sink and target <> '') then
        select leaves, case when leaves is null then packed_blocks(batch_id, 0, 2147483647) end, archived
          into new.leaves, new.packed, new.archived from batch_file where batch_id = new.batch_id;
    end if;
    return new;
end $$;
drop trigger outbox_leaves on outbox;
create trigger outbox_leaves before insert on outbox
    for each row when (new.sink like 'series%' and new.kind = 'retract') execute function note_leaves();
