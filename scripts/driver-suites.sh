#!/bin/sh
# Runs the drivers' own test suites, once directly at a server and once through pgsteer in
# transaction mode, and prints what differs. Not part of `make test`: it takes long and downloads the
# drivers' sources. The results are told in docs/compatibility.md.
#
#   scripts/driver-suites.sh [psycopg] [psycopg2] [asyncpg] [pg8000] [sqlalchemy] [django] [tokio_postgres]
#
# Needs a built pgsteer (`cargo build -p pgsteer-proxy`), python3 with venv, and git or the packages'
# sources from the registry that pip is configured with. Everything is kept in target/driver-suites.

set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
work=$target/driver-suites
mkdir -p "$work"
work=$(cd "$work" && pwd)
pgsteer=$(cd "$target/debug" && pwd)/pgsteer
[ -x "$pgsteer" ] || { echo "build it first: cargo build -p pgsteer-proxy" >&2; exit 1; }
suites=${*:-psycopg psycopg2 pg8000 asyncpg sqlalchemy django tokio_postgres}

say() { echo "suites: $*" >&2; }

bin=${PGSTEER_PG_BIN:-$(pg_config --bindir)}
direct_port=${DIRECT_PORT:-17432}
proxy_port=${PROXY_PORT:-17999}

# A server refuses to run as root.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid postgres --regid postgres --clear-groups "$@"
    else
        "$@"
    fi
}

start() {
    data=$(mktemp -d)
    [ "$(id -u)" -ne 0 ] || chown postgres "$data"
    as_postgres "$bin/initdb" -D "$data/data" -U postgres -A trust >/dev/null
    # Two servers, so that a suite that breaks the one leaves the other alone.
    as_postgres "$bin/pg_ctl" -D "$data/data" -w -l "$data/log" -o "-p $direct_port -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories='' -c fsync=off -c max_prepared_transactions=20 -c max_connections=200 \
        -c wal_level=logical" start >/dev/null
    cat >"$work/pgsteer.toml" <<END
[listen]
address = "127.0.0.1:$proxy_port"
[auth]
method = "trust"
[pool]
mode = "transaction"
connections_per_node_max = 100
[[users]]
name = "postgres"
password = "postgres"
[[nodes]]
host = "127.0.0.1"
port = $direct_port
END
    "$pgsteer" serve --config "$work/pgsteer.toml" 2>"$work/pgsteer.log" &
    proxy=$!
    until "$bin/psql" -qAt "host=127.0.0.1 port=$proxy_port user=postgres dbname=postgres" -c "SELECT 1" >/dev/null 2>&1; do
        kill -0 "$proxy" || { cat "$work/pgsteer.log" >&2; exit 1; }
    done
}

stop() {
    kill "$proxy" 2>/dev/null || true
    as_postgres "$bin/pg_ctl" -D "$data/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$data"
}
trap stop EXIT INT TERM

environment() {
    [ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet pytest pytest-timeout pytest-asyncio anyio \
        'setuptools>=78' 'cython>=3' wheel hatchling versioningit "$@"
}

# The source of a package of this version, unpacked; prints where.
source_of() {
    name=$1 version=$2
    if ! ls -d "$work/src/$name-$version" >/dev/null 2>&1; then
        mkdir -p "$work/src"
        "$work/venv/bin/pip" download --quiet --no-deps --no-binary :all: --no-build-isolation \
            -d "$work/src" "$name==$version" >"$work/download.log" 2>&1 || return 1
        tar -C "$work/src" -xf "$work/src/$name-$version.tar.gz"
    fi
    echo "$work/src/$name-$version"
}

# Runs pytest in a directory: where, what for, then its arguments; keeps one line for each test.
tests() {
    name=$1 dir=$2 kind=$3
    shift 3
    say "$name, $kind"
    (cd "$dir" && timeout 1800 "$work/venv/bin/python" -m pytest -q -rA --timeout 60 -p no:cacheprovider "$@") \
        >"$work/$name-$kind.log" 2>&1 || true
    grep -E '^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)' "$work/$name-$kind.log" |
        sed 's/ - .*//' | sort -u >"$work/$name-$kind.txt" || true
    tail -1 "$work/$name-$kind.log"
}

differences() {
    name=$1
    echo "## $name: what differs (< directly, > through the proxy)"
    diff "$work/$name-direct.txt" "$work/$name-proxy.txt" | grep '^[<>]' || echo "nothing"
}

port_of() { if [ "$1" = direct ]; then echo "$direct_port"; else echo "$proxy_port"; fi; }

suite_psycopg() {
    environment "psycopg[binary]==3.3.9" psycopg-pool mypy
    dir=$(source_of psycopg 3.3.9) || return 1
    if [ ! -d "$dir/tests" ]; then say "SKIPPED, psycopg: its source distribution has no tests"; return; fi
    for kind in direct proxy; do
        dsn="host=127.0.0.1 port=$(port_of $kind) user=postgres password=postgres dbname=postgres"
        tests psycopg "$dir" $kind --test-dsn "$dsn" -m "not slow and not mypy and not timing"
    done
    differences psycopg
}

suite_pg8000() {
    environment pg8000==1.31.6 pytz pytest-mock pytest-benchmark
    dir=$(source_of pg8000 1.31.6) || return 1
    if [ ! -d "$dir/test" ]; then say "SKIPPED, pg8000: its source distribution has no tests"; return; fi
    for kind in direct proxy; do
        PGHOST=127.0.0.1 PGPORT=$(port_of $kind) PGUSER=postgres PGPASSWORD=postgres export PGHOST PGPORT PGUSER PGPASSWORD
        tests pg8000 "$dir" $kind test
    done
    differences pg8000
}

suite_asyncpg() {
    environment asyncpg==0.32.0 distro uvloop
    dir=$(source_of asyncpg 0.32.0) || return 1
    if [ ! -d "$dir/tests" ]; then say "SKIPPED, asyncpg: its source distribution has no tests"; return; fi
    # The sources beside the tests are not compiled: the tests are to find the installed package.
    rm -rf "$work/asyncpg-tests" && mkdir "$work/asyncpg-tests" && cp -r "$dir/tests" "$work/asyncpg-tests/"
    for kind in direct proxy; do
        PGHOST=127.0.0.1 PGPORT=$(port_of $kind) PGUSER=postgres PGPASSWORD=postgres PGDATABASE=postgres
        export PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE
        tests asyncpg "$work/asyncpg-tests" $kind tests
    done
    differences asyncpg
}

suite_psycopg2() {
    environment psycopg2-binary==2.9.11
    dir=$(source_of psycopg2 2.9.11) || return 1
    # As for asyncpg.
    rm -rf "$work/psycopg2-tests" && mkdir "$work/psycopg2-tests" && cp -r "$dir/tests" "$work/psycopg2-tests/"
    for kind in direct proxy; do
        PSYCOPG2_TESTDB=postgres PSYCOPG2_TESTDB_HOST=127.0.0.1 PSYCOPG2_TESTDB_PORT=$(port_of $kind)
        PSYCOPG2_TESTDB_USER=postgres PSYCOPG2_TESTDB_PASSWORD=postgres
        export PSYCOPG2_TESTDB PSYCOPG2_TESTDB_HOST PSYCOPG2_TESTDB_PORT PSYCOPG2_TESTDB_USER PSYCOPG2_TESTDB_PASSWORD
        tests psycopg2 "$work/psycopg2-tests" $kind tests
    done
    differences psycopg2
}

suite_sqlalchemy() {
    environment sqlalchemy==2.0.44 psycopg2-binary==2.9.11
    dir=$(source_of sqlalchemy 2.0.44) || return 1
    # Its own preparations for tests.
    "$bin/psql" -qX -h 127.0.0.1 -p "$direct_port" -U postgres postgres -c "CREATE DATABASE sqlalchemy"
    "$bin/psql" -qX -h 127.0.0.1 -p "$direct_port" -U postgres sqlalchemy -c "CREATE SCHEMA test_schema" \
        -c "CREATE SCHEMA test_schema_2" -c "CREATE EXTENSION hstore" -c "CREATE EXTENSION citext"
    for kind in direct proxy; do
        tests sqlalchemy "$dir" $kind test/dialect/postgresql test/dialect/test_suite.py \
            --dburi "postgresql+psycopg2://postgres:postgres@127.0.0.1:$(port_of $kind)/sqlalchemy"
    done
    differences sqlalchemy
}

suite_django() {
    environment django==5.2 "psycopg[binary,pool]==3.3.9"
    dir=$(source_of Django 5.2) || return 1
    for kind in direct proxy; do
        say "django, $kind"
        cat >"$dir/tests/test_pgsteer.py" <<END
DATABASES = {
    name: {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name, "USER": "postgres", "PASSWORD": "postgres", "HOST": "127.0.0.1", "PORT": $(port_of $kind),
    }
    for name in ("default", "other")
}
SECRET_KEY = "tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
END
        (cd "$dir/tests" && timeout 1800 "$work/venv/bin/python" runtests.py --settings=test_pgsteer --parallel=1 -v 2 \
            --noinput $django_apps) >"$work/django-$kind.log" 2>&1 || true
        grep -E '^[a-z_A-Z0-9]+ \(.*\.\.\. ' "$work/django-$kind.log" | sed -E "s/ \.\.\. (skipped).*/ \1/" |
            sort -u >"$work/django-$kind.txt" || true
        grep -E '^(Ran|OK|FAILED)' "$work/django-$kind.log" | tail -2
    done
    differences django
}

# Those in which the database matters.
django_apps="backends postgres_tests transactions transaction_hooks select_for_update queries
    aggregation annotations bulk_create constraints schema introspection inspectdb indexes db_functions expressions
    prefetch_related update delete get_or_create raw_query model_fields"

suite_tokio_postgres() {
    crate=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/tokio-postgres-0.7.* 2>/dev/null | tail -1)
    [ -d "$crate/tests" ] || return 1
    "$bin/psql" -qX -h 127.0.0.1 -p "$direct_port" -U postgres postgres -c "CREATE EXTENSION IF NOT EXISTS hstore" \
        -c "CREATE EXTENSION IF NOT EXISTS ltree" -c "CREATE EXTENSION IF NOT EXISTS citext"
    for kind in direct proxy; do
        say "tokio-postgres, $kind"
        rm -rf "$work/tokio-postgres" && cp -r "$crate" "$work/tokio-postgres"
        grep -rl 5433 "$work/tokio-postgres/tests" | xargs sed -i "s/5433/$(port_of $kind)/g"
        (cd "$work/tokio-postgres" && CARGO_TARGET_DIR="$work/target" timeout 1800 cargo test --test test) \
            >"$work/tokio-postgres-$kind.log" 2>&1 || true
        grep -E '^test .* \.\.\. ' "$work/tokio-postgres-$kind.log" | sort -u >"$work/tokio-postgres-$kind.txt" || true
        grep -E '^test result' "$work/tokio-postgres-$kind.log" | tail -1
    done
    differences tokio-postgres
}

start
for suite in $suites; do
    "suite_$suite" || say "SKIPPED, $suite: its sources cannot be had"
done
