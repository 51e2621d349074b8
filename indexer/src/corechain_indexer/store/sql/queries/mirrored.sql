-- name: claim_mirrored
insert into mirrored (chain_id, registry) values ($1, $2) on conflict do nothing

-- name: mirrored
select chain_id, registry from mirrored

-- name: forget_mirrored
delete from mirrored
