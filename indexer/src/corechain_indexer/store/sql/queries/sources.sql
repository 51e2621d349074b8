-- name: sources
select address, joined, through, hash from source order by address

-- name: add_sources
insert into source (address, joined) select a, $2 from unnest($1::bytea[]) a on conflict do nothing

-- name: move_sources
update source set joined = $2, through = $3, hash = $4 where address = any($1::bytea[])
