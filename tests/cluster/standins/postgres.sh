#!/bin/sh
# As the entrypoint of the official image: makes the database of POSTGRES_* once, runs what is in
# /docker-entrypoint-initdb.d, and then Postgres as a user of its own.
set -e
data=/var/lib/postgresql/data
as() { setpriv --reuid 999 --regid 999 --clear-groups "$@"; }
if [ ! -f "$data/PG_VERSION" ]; then
  chown 999:999 "$data"
  as sh -c "umask 077; echo \"\$POSTGRES_PASSWORD\" > /tmp/password"
  as initdb -D "$data" -U "$POSTGRES_USER" --pwfile /tmp/password --auth-local trust --auth-host scram-sha-256
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
  as pg_ctl -D "$data" -w -o "-c listen_addresses= -k /tmp" start
  as createdb -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"
  for file in /docker-entrypoint-initdb.d/*.sql; do
    as psql -h /tmp -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v ON_ERROR_STOP=1 -f "$file"
  done
  as pg_ctl -D "$data" -m fast -w stop
fi
exec setpriv --reuid 999 --regid 999 --clear-groups postgres -D "$data" -c "listen_addresses=*" -c unix_socket_directories=/tmp
