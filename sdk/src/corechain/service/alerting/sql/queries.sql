-- name: open_alerts
-- Those of one watcher, by how its keys begin.
select id, kind, key, summary, details, extract(epoch from since)::bigint as since, fired_at is not null as fired
  from alert where resolved_at is null and starts_with(key, $1)

-- name: begin_alert
insert into alert (kind, key, summary, details) values ($1, $2, $3, $4)
    on conflict (kind, key) where resolved_at is null do nothing

-- name: alerts_to_fire
-- Those that were seen long enough ago; $1 and $2 are kinds and after how many seconds each fires.
update alert a set fired_at = now()
  from unnest($1::text[], $2::double precision[]) as k (kind, after_s)
 where a.kind = k.kind and a.resolved_at is null and a.fired_at is null
   and now() - a.since >= make_interval(secs => k.after_s)
returning a.id, a.kind, a.key, a.summary, a.details, extract(epoch from a.since)::bigint as since

-- name: resolve_alerts
update alert set resolved_at = now() where id = any($1::bigint[]) and fired_at is not null
returning id, kind, key, summary, details, extract(epoch from since)::bigint as since

-- name: drop_alerts
-- Those that were over before they fired.
delete from alert where id = any($1::bigint[]) and fired_at is null

-- name: forget_alerts
-- A reorg's says that it was told: the rollback itself is kept for ever.
delete from alert where resolved_at < now() - interval '30 days' and kind <> 'reorg'

-- name: add_webhook
insert into webhook (target, body) values ($1, $2)

-- name: trim_webhooks
delete from webhook where target = $1
   and id <= (select id from webhook where target = $1 order by id desc offset $2 limit 1)

-- name: forget_webhooks
-- What was meant for others than $1, once it is $2 seconds old.
delete from webhook
 where target <> all($1::bytea[]) and made_at <= now() - make_interval(secs => $2)

-- name: next_webhook
-- The oldest one of a receiver, if it is due: a later one does not overtake it.
select id, body, attempts, now() - made_at > make_interval(secs => $2) as expired
  from (select * from webhook where target = $1 order by id limit 1) oldest
 where due <= now()

-- name: webhook_failed
update webhook set attempts = attempts + 1, due = now() + make_interval(secs => $2) where id = $1

-- name: webhook_done
delete from webhook where id = $1
