#!/bin/sh
# Makes a primary ready for its replicas: their roles, their physical slots, their line in pg_hba.conf.
#
# The postgres image runs it from /docker-entrypoint-initdb.d when it creates the database. It may be
# run again at any time, and then changes nothing but passwords that differ:
#   docker compose exec -u postgres postgres sh /docker-entrypoint-initdb.d/10-replication.sh
#
# Takes POSTGRES_USER, PGDATA (set by the image) and REPLICATION_PASSWORD.

# In a subshell: the image sources a script that has lost its executable bit, and our settings of the
# shell must not become the image's.
(
    set -eu
    : "${PGDATA:?}" "${REPLICATION_PASSWORD:?}"
    user=${POSTGRES_USER:-postgres}

    # psql takes the password from the environment: on its command line everybody could read it.
    ensure_role_and_slot() {
        psql -X -q -v ON_ERROR_STOP=1 -U "$user" -d postgres -v role="$1" -v slot="$2" <<'SQL'
\getenv password REPLICATION_PASSWORD
SELECT format('CREATE ROLE %I', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
SELECT format('ALTER ROLE %I LOGIN REPLICATION PASSWORD %L', :'role', :'password') \gexec
SELECT pg_create_physical_replication_slot(:'slot')
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot') \g /dev/null
SQL
        echo "primary-init: role $1 and slot $2 are there"
    }

    ensure_role_and_slot replicator replication_slot
    ensure_role_and_slot replicator2 replication_slot2

    hba_line='host replication replicator,replicator2 all scram-sha-256'
    if ! grep -qxF "$hba_line" "$PGDATA/pg_hba.conf"; then
        echo "$hba_line" >>"$PGDATA/pg_hba.conf"
        echo "primary-init: replicas may connect"
    fi
    psql -X -q -v ON_ERROR_STOP=1 -U "$user" -d postgres -c 'SELECT pg_reload_conf()' >/dev/null
)
