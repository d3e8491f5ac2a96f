#!/bin/sh
# Makes the directory of a version that is about to be released: make.sh VERSION PGSTEER
# PGSTEER is the program, built from this very state. What is released already is left alone.
set -eu

version=${1:?usage: make.sh VERSION PGSTEER}
pgsteer=${2:?usage: make.sh VERSION PGSTEER}
cd "$(dirname "$0")/../.."

# The table, not the examples in its tests.
if sed '/cfg(test)/,$d' tests/tidy/wit.rs | grep -q "version: \"$version\""; then
    echo "$version is released (tests/tidy/wit.rs): its files never change" >&2
    exit 1
fi

out=tests/released/$version
mkdir -p "$out"
cp "wit/v${version%.*}/plugin.wit" "$out/"

# Panics name files: relative to the repository, not where it lies on this machine.
mkdir -p plugins/.cargo
trap 'rm -r plugins/.cargo' EXIT
printf '[target.wasm32-unknown-unknown]\nrustflags = ["--remap-path-prefix=%s=", "--remap-path-prefix=%s=cargo"]\n' \
    "$PWD/" "${CARGO_HOME:-$HOME/.cargo}" > plugins/.cargo/config.toml

for name in primary-only pgpool-router query-rewrite statement-stats maintenance; do
    "$pgsteer" plugin build "plugins/$name" -o "$out/$name.wasm" > /dev/null
done
ls -l "$out"
