#!/bin/sh
# Builds the release, and lays its code out in the order in which it runs under load: a statement runs few
# of the 27,000 functions, and finding them together takes a quarter off the time of the program itself.
#
#   scripts/release.sh          prints where the program is: target/trained/pgsteer
#
# The program is run for a minute in front of a PostgreSQL primary with two replicas, which are started
# for it and thrown away, while LLVM's BOLT counts what it does; then BOLT writes it anew. Needs llvm-bolt
# (Debian: bolt-22 and others), PostgreSQL's server programs and pgbench. Without BOLT, or with one that
# cannot do it, the program that is printed is the plain release.

set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/trained"
target=$(cd "$target" && pwd)
work=$target/trained

say() { echo "release: $*" >&2; }

# Printed as the shell finds it, the newest of several.
find_bolt() {
    command -v llvm-bolt && return
    for path in /usr/lib/llvm-*/bin/llvm-bolt; do
        if [ -x "$path" ]; then echo "$path"; fi
    done | sort -V | tail -1
}

# So that BOLT may move code; nothing else about the program is different.
cargo rustc --release -p pgsteer-proxy --bin pgsteer -- -C link-arg=-Wl,--emit-relocs >&2
plain=$target/release/pgsteer

bolt=$(find_bolt)
if [ -z "$bolt" ]; then
    say "there is no llvm-bolt: this is the plain release"
    echo "$plain"
    exit
fi

# A program there is in any case.
give_up() {
    tail -5 "$1" >&2
    say "that did not work, see $1: this is the plain release"
    echo "$plain"
    exit
}

scratch=$(mktemp -d)
lab=
proxy=
stop() {
    for process in $proxy $lab; do
        kill -TERM "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    proxy='' lab=''
}
trap 'stop; rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

say "making a program that counts"
"$bolt" "$plain" -o "$work/counting" -instrument -instrumentation-file="$scratch/counts" \
    >"$work/instrument.log" 2>&1 || give_up "$work/instrument.log"

port=${TRAINING_PORT:-19998}
export PGPASSWORD=password PGUSER=postgres PGHOST=127.0.0.1
run_sql() { psql -X -q -A -t -p "$1" -d "$2" -c "$3"; }
await() {
    tries=0
    until run_sql "$1" postgres "SELECT 1" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] && kill -0 "$2" 2>/dev/null || give_up "$3"
        sleep 0.2
    done
}

say "starting a primary and two replicas"
"$plain" lab --dir "$scratch/lab" --port "$port" >"$work/lab.log" 2>&1 &
lab=$!
await "$port" "$lab" "$work/lab.log"

# One database for each way of sharing servers.
nodes=$(run_sql "$port" postgres "SHOW pool_nodes" | cut -d'|' -f3)
for mode in session transaction; do
    run_sql "$port" postgres "CREATE DATABASE $mode"
    pgbench -i -q -s 1 -p "$port" "$mode" >"$work/tables.log" 2>&1 || give_up "$work/tables.log"
done
{
    printf '[listen]\naddress = "127.0.0.1:%s"\n[auth]\nmethod = "trust"\n' "$((port + 1))"
    printf '[[users]]\nname = "postgres"\npassword = "password"\n[pool]\nconnections_per_node_max = 50\n'
    for node in $nodes; do printf '[[nodes]]\nhost = "127.0.0.1"\nport = %s\n' "$node"; done
    for mode in session transaction; do
        printf '[[pools]]\ndatabase = "%s"\nmode = "%s"\n' "$mode" "$mode"
    done
} >"$scratch/training.toml"

say "running it under load for a minute"
"$work/counting" serve --config "$scratch/training.toml" >"$work/training.log" 2>&1 &
proxy=$!
port=$((port + 1))
await "$port" "$proxy" "$work/training.log"
for mode in session transaction; do
    for protocol in simple extended prepared; do
        pgbench -n -S -M "$protocol" -c 32 -T 6 -p "$port" "$mode" >/dev/null
        pgbench -n -S -M "$protocol" -c 1 -T 1 -p "$port" "$mode" >/dev/null
        pgbench -n -M "$protocol" -c 4 -T 2 -p "$port" "$mode" >/dev/null
    done
    pgbench -n -S -C -c 2 -T 2 -p "$port" "$mode" >/dev/null
    run_sql "$port" "$mode" "COPY (SELECT repeat('x', 100) FROM generate_series(1, 200000)) TO STDOUT" >/dev/null
done
# The counts are written when it ends.
stop

say "laying out the code"
"$bolt" "$plain" -o "$work/pgsteer" -data="$scratch/counts" -reorder-blocks=ext-tsp \
    -reorder-functions=cdsort -split-functions -split-all-cold -split-eh -update-debug-sections \
    >"$work/layout.log" 2>&1 || give_up "$work/layout.log"
rm -f "$work/counting"
"$work/pgsteer" --version >&2
echo "$work/pgsteer"
