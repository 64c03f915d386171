#!/bin/sh
# One visit: counted in the store. While the store is away the visitor waits.
count='return {redis.call("incr", "visits"), redis.call("get", "name")}'
tries=0
while [ $tries -lt 150 ]; do
    answer=$(redis-cli -h store --raw eval "$count" 0 2>/dev/null | tr '\n' ' ')
    case $answer in
    [0-9]*)
        echo "Content-Type: text/plain"
        echo
        echo "visit $answer$(hostname) $VERSION"
        exit 0
        ;;
    esac
    tries=$((tries + 1))
    sleep 0.1
done
exit 1
