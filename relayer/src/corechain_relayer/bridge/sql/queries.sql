-- name: insert_station
-- A new station.
insert into station (name, format, device, cell, elevation_m, timezone, mapping, identity,
                     token_hash, url, every_s, header)
values (:name, :format, :device, :cell, :elevation_m, :timezone, :mapping, :identity,
        :token_hash, :url, :every_s, :header)
returning *;

-- name: stations
-- All that were not removed.
select * from station where removed_at is null order by name;

-- name: station_named
-- One by its name.
select * from station where name = :name and removed_at is null;

-- name: stations_with_token
-- Those that share a token, of one format, first those with an identity; a limit of -1 is none.
select * from station where token_hash = :token_hash and format = :format and removed_at is null
order by identity is null, id limit :limit;

-- name: stations_identified
-- Those of one format that are known by an identity; a token of null: with any.
select * from station
where format = :format and lower(identity) = lower(:identity) and removed_at is null
  and (:token_hash is null or token_hash = :token_hash) order by id;

-- name: remove_station
-- Its device id stays: it must never be used again.
update station set removed_at = :now, name = name || ' (removed ' || id || ')', token_hash = x'',
                   header = null
where id = :id;

-- name: known
-- What was read from a station before.
select sequence, newest, counters from known where station = :station;

-- name: remember
-- The same, after an upload.
insert into known (station, sequence, newest, counters)
values (:station, :sequence, :newest, :counters)
on conflict (station) do update set sequence = excluded.sequence, newest = excluded.newest,
                                    counters = excluded.counters;

-- name: enqueue
-- A signed report.
insert into outbox (station, created_at, report, trace) values (:station, :now, :report, :trace);

-- name: head
-- The oldest reports, but of some stations (a JSON list of ids).
select id, station, report, created_at, trace from outbox
where station not in (select value from json_each(:without)) order by id limit :limit;

-- name: depth
-- How many reports wait.
select count(*) from outbox;

-- name: depth_of
-- How many reports of a station wait.
select count(*) from outbox where station = :station;

-- name: oldest
-- When the oldest of them was made; null for none.
select created_at from outbox order by id limit 1;

-- name: done
-- The gateway holds it.
delete from outbox where id = :id;

-- name: refuse
-- The gateway will never take it.
insert into refused (station, refused_at, reason, report)
select station, :now, :reason, report from outbox where id = :id;

-- name: trim_refused
-- Only the newest are kept.
delete from refused where id <= (select max(id) from refused) - :kept;

-- name: refused
-- The newest refusals.
select station.name, refused.refused_at, refused.reason, refused.report
from refused join station on station.id = refused.station order by refused.id desc limit :limit;
