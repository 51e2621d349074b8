-- InfluxDB can delete by time and tags, and a batch is no tag: its readings must be known when it is taken out.
alter table outbox add column leaves bytea;

create function note_leaves() returns trigger language plpgsql as $$
begin
    -- Only where a series database is filled: else a reorg would copy them for nobody.
    if exists (select from sink where name = 'series' and target <> '') then
        select leaves into new.leaves from batch_file where batch_id = new.batch_id;
    end if;
    return new;
end $$;
create trigger outbox_leaves before insert on outbox
    for each row when (new.sink = 'series' and new.kind = 'retract') execute function note_leaves();

-- Readings that the series database will not take. It is not asked for their time.
create table series_refused (
    batch_id   bigint not null,
    count      bigint not null,
    first_at   bigint not null,
    last_at    bigint not null,
    why        text not null,
    refused_at timestamptz not null default now()
);
create index series_refused_batch on series_refused (batch_id);
