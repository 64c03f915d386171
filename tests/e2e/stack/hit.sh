#!/bin/sh
# One visit: counted in Redis, noted in PostgreSQL.
echo "Content-Type: text/plain"
echo
number=$(redis-cli -h cache incr hits) || exit 1
sql() { psql -h db -U postgres -q -A -t -v ON_ERROR_STOP=1 -c "$1"; }
sql "insert into hits (number) values ($number)" || exit 1
echo "number=$number rows=$(sql 'select count(*) from hits') app=$(hostname)"
