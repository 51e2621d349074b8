-- name: log_position
-- Null while it is no primary, as after it has lost the lead.
select case when not pg_is_in_recovery() then pg_current_wal_lsn()::text end

-- name: has_replayed
-- Of a server that is no replica, null.
select pg_last_wal_replay_lsn() >= $1::text::pg_lsn

-- name: primary_position
-- `line`: the timeline of its log. Each promotion begins a new one.
select pg_current_wal_lsn()::text as position, system_identifier as system,
       ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int as line
from pg_control_system() where not pg_is_in_recovery()

-- name: replica_position
-- `line`: the timeline that it receives, or else was on at its last restartpoint.
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()::text end as position,
       system_identifier as system,
       coalesce((select received_tli from pg_stat_wal_receiver),
                (select timeline_id from pg_control_checkpoint())) as line
from pg_control_system()
