#!/bin/bash
# Start everything: ./start.sh [INI]. Ctrl-C or SIGTERM ends it: the web first, then the worker after its steps, then the server.
# If one of the three ends by itself, the others end too.
# If TEMPORAL_ADDRESS names a server, no server is started here.
set -eu
ini=$(realpath "${1:-$(dirname "$0")/development.ini}")
export PYTHONPATH="$(realpath "$(dirname "$0")")${PYTHONPATH:+:$PYTHONPATH}"

server=
if [ -z "${TEMPORAL_ADDRESS:-}" ]; then
    setsid ptemporal-compat server & server=$!
fi
setsid pserve "$ini" & web=$!
setsid ptemporal-compat worker "$ini" & worker=$!

stop() {
    trap '' INT TERM
    for part in $web $worker $server; do
        kill -TERM "$part" 2>/dev/null || true
        wait "$part" || true
    done
}
trap 'stop; exit 0' INT TERM
wait -n $web $worker $server || true
stop
exit 1
