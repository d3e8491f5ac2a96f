#!/usr/bin/env bash
# Compares pgsteer with a direct connection, HAProxy (tcp), PgBouncer and Pgpool-II on one cluster:
# throughput of pgbench, and CPU time per transaction of the proxy's own processes. The contenders
# take turns in every round, and medians are reported, so that a slow moment hits all of them.
#
#   scripts/bench.sh [--rounds N] [--seconds S] [--clients C] [--output FILE]
set -euo pipefail

rounds=5 seconds=5 clients=32 output=docs/performance.md
while [ $# -gt 0 ]; do
  case "$1" in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --clients) clients=$2 ;;
    --output) output=$2 ;;
    *) echo "bench.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done

pgsteer=${CARGO_TARGET_DIR:-target}/release/pgsteer
[ -x "$pgsteer" ] || { echo "bench.sh: $pgsteer is missing: run make bench" >&2; exit 1; }
pgsteer=$(realpath "$pgsteer")
work=$(mktemp -d)
chmod 755 "$work"
started=()
cleanup() {
  # Not INT: what a script starts in the background ignores it, and HAProxy leaves it so.
  for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT INT TERM

steer_port=15999 bouncer_port=15432 haproxy_port=15433 pgpool_port=15434
export PGPASSWORD=password PGUSER=postgres PGDATABASE=postgres PGHOST=127.0.0.1

wait_port() { # PORT NAME
  for _ in $(seq 100); do
    if psql -p "$1" -Atqc 'SELECT 1' >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  echo "bench.sh: $2 does not answer on port $1" >&2
  tail -n 20 "$work/$2.log" >&2 || true
  exit 1
}

echo "starting the lab cluster and pgsteer"
# All reads to the primary, so that every contender uses the same one server.
"$pgsteer" lab --port "$steer_port" --weights 1,0,0 --dir "$work/lab" >"$work/pgsteer.log" 2>&1 &
steer_pid=$!
started+=("$steer_pid")
for _ in $(seq 300); do
  grep -q 'Connect with' "$work/pgsteer.log" && break
  kill -0 "$steer_pid" 2>/dev/null || { cat "$work/pgsteer.log" >&2; exit 1; }
  sleep 0.2
done
mapfile -t ports < <(awk '/^port = /{print $3}' "$work/lab/pgsteer.toml")
wait_port "$steer_port" pgsteer

# The others refuse to run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then
  as_user=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi

cat >"$work/pgbouncer.ini" <<INI
[databases]
postgres = host=127.0.0.1 port=${ports[0]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bouncer_port
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $work/userlist.txt
pool_mode = session
max_client_conn = 1000
default_pool_size = 150
logfile = $work/pgbouncer.log
ignore_startup_parameters = extra_float_digits
INI
echo '"postgres" "password"' >"$work/userlist.txt"
cat >"$work/haproxy.cfg" <<CFG
global
  maxconn 1000
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 5m
  timeout server 5m
frontend in
  bind 127.0.0.1:$haproxy_port
  default_backend primary
backend primary
  server primary 127.0.0.1:${ports[0]}
CFG
cat >"$work/pgpool.conf" <<CONF
backend_clustering_mode = streaming_replication
listen_addresses = '127.0.0.1'
port = $pgpool_port
pcp_port = 15898
socket_dir = '$work'
pcp_socket_dir = '$work'
wd_ipc_socket_dir = '$work'
pid_file_name = '$work/pgpool.pid'
logdir = '$work'
num_init_children = 150
max_pool = 1
enable_pool_hba = on
pool_passwd = '$work/pool_passwd'
sr_check_user = postgres
sr_check_password = password
sr_check_period = 10
health_check_period = 0
load_balance_mode = on
backend_hostname0 = '127.0.0.1'
backend_port0 = ${ports[0]}
backend_weight0 = 1
backend_hostname1 = '127.0.0.1'
backend_port1 = ${ports[1]}
backend_weight1 = 0
CONF
echo 'postgres:TEXTpassword' >"$work/pool_passwd"
printf 'host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n' >"$work/pool_hba.conf"
touch "$work/pcp.conf"
mkdir "$work/run" && chmod 777 "$work/run"
[ "$(id -u)" = 0 ] && chown -R postgres "$work" && chown -R root "$work/lab"

run() { # NAME COMMAND...
  local name=$1; shift
  "${as_user[@]}" "$@" >"$work/$name.out" 2>&1 &
  started+=($!)
}
run pgbouncer pgbouncer -q "$work/pgbouncer.ini"
run haproxy haproxy -db -f "$work/haproxy.cfg"
run pgpool pgpool -n -D -f "$work/pgpool.conf" -a "$work/pool_hba.conf" -F "$work/pcp.conf" \
  -k /dev/null
wait_port "$bouncer_port" pgbouncer
wait_port "$haproxy_port" haproxy
wait_port "$pgpool_port" pgpool

psql -p "${ports[0]}" -Atqc 'DROP TABLE IF EXISTS pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers'
pgbench -p "${ports[0]}" -iq -s 10 >/dev/null 2>&1

# CPU time in clock ticks of all processes of a contender.
ticks() { # NAME
  local pids
  case "$1" in
    pgsteer) pids=$steer_pid ;;
    direct) echo 0; return ;;
    *) pids=$(pgrep -x "$1" || true) ;;
  esac
  for pid in $pids; do
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat" 2>/dev/null || true
  done | awk '{ n += $1 } END { print n + 0 }'
}
memory() { # NAME: resident KiB
  local pids
  case "$1" in
    pgsteer) pids=$steer_pid ;;
    direct) echo 0; return ;;
    *) pids=$(pgrep -x "$1" || true) ;;
  esac
  for pid in $pids; do awk '/^Rss:/{n+=$2} END{print n+0}' "/proc/$pid/smaps_rollup" 2>/dev/null || true
  done | awk '{ n += $1 } END { print n + 0 }'
}
port_of() {
  case "$1" in
    direct) echo "${ports[0]}" ;;
    pgsteer) echo "$steer_port" ;;
    pgbouncer) echo "$bouncer_port" ;;
    haproxy) echo "$haproxy_port" ;;
    pgpool) echo "$pgpool_port" ;;
  esac
}
contenders=(direct haproxy pgbouncer pgsteer pgpool)
modes=(simple extended prepared)
hz=$(getconf CLK_TCK)
results=$work/results.tsv
for round in $(seq "$rounds"); do
  for mode in "${modes[@]}"; do
    for name in "${contenders[@]}"; do
      before=$(ticks "$name")
      report=$(pgbench -p "$(port_of "$name")" -S -n -M "$mode" -c "$clients" -j 2 -T "$seconds" 2>&1) ||
        { echo "$report" >&2; exit 1; }
      after=$(ticks "$name")
      count=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' <<<"$report")
      tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$report")
      micros=$(awk -v t=$((after - before)) -v hz="$hz" -v n="$count" 'BEGIN{print t/hz*1e6/n}')
      printf '%s\t%s\t%s\t%s\t%s\n' "$mode" "$name" "$tps" "$micros" "$(memory "$name")" >>"$results"
      printf 'round %s %-8s %-9s %9.0f tps %7.1f us cpu\n' "$round" "$mode" "$name" "$tps" "$micros"
    done
  done
done

median() { sort -n | awk '{v[NR]=$1} END{print NR%2 ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
column() { awk -F'\t' -v m="$1" -v n="$2" -v c="$3" '$1==m && $2==n {print $c}' "$results" | median; }
version() { "$@" 2>&1 | sed -n 1p; }
{
  echo '# Performance'
  echo
  echo "Made by \`make bench\` (\`scripts/bench.sh\`) on $(date -u +%Y-%m-%d): pgbench select-only, $clients"
  echo "clients, two pgbench threads, $rounds rounds of $seconds seconds, contenders taking turns, medians."
  echo "All contenders use the primary only, over TCP on one machine; pgsteer has its default plugin on."
  echo 'Trust the ratios: the times belong to this machine and what else it did.'
  echo
  echo "- machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed -n 1p), Linux $(uname -r)"
  echo "- $("$pgsteer" --version), release profile, one worker per core, session pooling"
  echo "- PostgreSQL $(psql -p "${ports[0]}" -Atqc 'SHOW server_version'); $(version pgbouncer --version), session pooling; $(version haproxy -v | cut -d' ' -f1-3), tcp, one thread; $(version pgpool --version), weights 1,0"
  for mode in "${modes[@]}"; do
    direct=$(column "$mode" direct 3)
    bouncer=$(column "$mode" pgbouncer 3)
    echo
    echo "## $mode protocol"
    echo
    echo '| through | transactions/s | of direct | of PgBouncer | proxy CPU per transaction | resident memory |'
    echo '|---|---:|---:|---:|---:|---:|'
    for name in "${contenders[@]}"; do
      awk -v n="$name" -v t="$(column "$mode" "$name" 3)" -v d="$direct" -v b="$bouncer" \
        -v c="$(column "$mode" "$name" 4)" -v r="$(column "$mode" "$name" 5)" 'BEGIN {
          printf "| %s | %.0f | %.2f | %.2f |", n, t, t/d, t/b
          if (n == "direct") print " | |"; else printf " %.1f µs | %.1f MiB |\n", c, r/1024 }'
    done
  done
} >"$work/report.md"
cat "$work/report.md"
mkdir -p "$(dirname "$output")"
cp "$work/report.md" "$output"
echo "written to $output"
