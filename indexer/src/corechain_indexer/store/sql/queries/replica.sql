-- name: log_position
select pg_current_wal_lsn()::text

-- name: has_replayed
-- Of a server that is no replica, null.
select pg_last_wal_replay_lsn() >= $1::text::pg_lsn

-- name: primary_position
select pg_current_wal_lsn()::text as position, system_identifier as system from pg_control_system()

-- name: replica_position
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()::text end as position,
       system_identifier as system from pg_control_system()
