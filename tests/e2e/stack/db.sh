#!/bin/sh
# Makes the database on the first start, then serves it; PostgreSQL refuses to run as root.
set -e
chown postgres:postgres /data
as_postgres() { /usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
if [ ! -s /data/main/PG_VERSION ]; then
    as_postgres initdb -D /data/main -U postgres -A trust -E UTF8 --locale=C --no-sync >/dev/null
    echo "host all all all trust" >>/data/main/pg_hba.conf
    echo "create table hits (number integer not null);" |
        as_postgres postgres --single -D /data/main postgres >/dev/null
fi
exec /usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups \
    postgres -D /data/main -c listen_addresses=* -c unix_socket_directories=/tmp
