#!/bin/sh
# What `make fuzz` runs: for half of MINUTES random programs directly and through the proxy, for the
# other half the decoders with cargo-fuzz, each for an equal share.
#
#   MINUTES=10   altogether
#   SEED=number  runs one program again, in every mode, and nothing else
#
# cargo-fuzz needs a nightly compiler. Without either the decoders are left out, which is said; their
# property tests are part of `make test`.

set -eu
cd "$(dirname "$0")/.."

minutes=${MINUTES:-10}
seed=${SEED:-}

say() { echo "fuzz: $*"; }

if [ -n "$seed" ]; then
    say "the program of seed $seed"
    PGSTEER_FUZZ_SEED=$seed cargo test -p pgsteer-tests --test differential -- --nocapture in_
    exit
fi

half=$((minutes / 2))
[ "$half" -gt 0 ] || half=1

say "random programs for $half minutes"
PGSTEER_FUZZ_MINUTES=$half cargo test -p pgsteer-tests --test differential -- --ignored --nocapture the_long_form

if ! cargo +nightly --version >/dev/null 2>&1; then
    say "SKIPPED, the decoders: there is no nightly compiler (rustup toolchain install nightly)"
    exit
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    say "SKIPPED, the decoders: there is no cargo-fuzz (cargo install cargo-fuzz)"
    exit
fi
targets=$(cargo +nightly fuzz list)
count=$(echo "$targets" | wc -l)
seconds=$((half * 60 / count))
for target in $targets; do
    say "decoder $target for $seconds seconds"
    # Longer inputs than a login may have find nothing more.
    cargo +nightly fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -max_len=16384 -print_final_stats=0
done
say "nothing found"
