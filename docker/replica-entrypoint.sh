#!/bin/sh
# Starts a streaming replica. The first start takes a base backup; every later one uses what is there.
# Arguments go to postgres.
#
# Takes PGDATA, PRIMARY_HOST, PRIMARY_PORT (5432), REPLICATION_USER, REPLICATION_PASSWORD,
# REPLICATION_SLOT and PRIMARY_WAIT_SECONDS (120). PGDATA must be below the volume, not the volume
# itself: the copy is made beside it and renamed when it is complete, so that an interrupted one is
# never started.

set -eu
: "${PGDATA:?}" "${PRIMARY_HOST:?}" "${REPLICATION_USER:?}" "${REPLICATION_PASSWORD:?}"
: "${REPLICATION_SLOT:?}"
primary_port=${PRIMARY_PORT:-5432}
wait_seconds=${PRIMARY_WAIT_SECONDS:-120}
volume=$(dirname "$PGDATA")
passfile=$volume/replication-passfile

say() { echo "replica: $*"; }

# Containers begin as root, PostgreSQL refuses to run as root.
if [ "$(id -u)" -eq 0 ]; then
    mkdir -p "$volume"
    chown postgres:postgres "$volume"
    if command -v gosu >/dev/null; then
        exec gosu postgres sh "$0" "$@"
    fi
    exec setpriv --reuid=postgres --regid=postgres --init-groups sh "$0" "$@"
fi

# Written at every start: the password may have changed since the base backup.
write_passfile() {
    escaped=$(printf '%s' "$REPLICATION_PASSWORD" | sed 's/[\\:]/\\&/g')
    (
        umask 077
        printf '*:*:*:%s:%s\n' "$REPLICATION_USER" "$escaped" >"$passfile"
    )
}

wait_for_primary() {
    waited=0
    until pg_isready -q -h "$PRIMARY_HOST" -p "$primary_port" -t 2; do
        if [ "$waited" -eq 0 ]; then
            say "waiting for the primary at $PRIMARY_HOST:$primary_port"
        fi
        if [ "$waited" -ge "$wait_seconds" ]; then
            say "no primary at $PRIMARY_HOST:$primary_port after $wait_seconds s" >&2
            exit 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
}

take_base_backup() {
    say "taking a base backup from $PRIMARY_HOST:$primary_port"
    rm -rf "$PGDATA.incomplete"
    conninfo="host=$PRIMARY_HOST port=$primary_port user=$REPLICATION_USER passfile=$passfile"
    pg_basebackup -d "$conninfo application_name=$(hostname)" -D "$PGDATA.incomplete" \
        -R --slot="$REPLICATION_SLOT" -X stream --checkpoint=fast
    mv "$PGDATA.incomplete" "$PGDATA"
}

write_passfile
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -e "$PGDATA" ]; then rmdir "$PGDATA"; fi
    wait_for_primary
    take_base_backup
elif [ -e "$PGDATA/standby.signal" ]; then
    say "starting from the data of the last time"
else
    say "was promoted: starting as a primary, which it stays until somebody makes it a replica again"
fi
exec postgres -D "$PGDATA" "$@"
