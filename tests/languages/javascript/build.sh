#!/bin/sh
# Builds the component: build.sh OUT.wasm [INTERFACE_DIRECTORY]
# Needs node with npm, and its registry. What it installs stays in a temporary directory, unless
# PGSTEER_LANGUAGES_CACHE names one that is to be used again. Ends with 69 if its tools cannot be had.
set -eu

version=0.4.5

out=${1:?usage: build.sh OUT.wasm [INTERFACE_DIRECTORY]}
here=$(cd "$(dirname "$0")" && pwd)
wit=${2:-$here/../../../wit/v0.1}
mkdir -p "$(dirname "$out")"

if [ -n "${PGSTEER_LANGUAGES_CACHE:-}" ]; then
    tools=$PGSTEER_LANGUAGES_CACHE/javascript-$version
    mkdir -p "$tools"
else
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
fi
if [ ! -x "$tools/node_modules/.bin/componentize-qjs" ]; then
    npm install --silent --no-audit --no-fund --no-save --prefix "$tools" "componentize-qjs@$version" || {
        echo "no componentize-qjs $version: it takes node with npm, and npm's registry" >&2
        exit 69
    }
fi

# --sync: no asynchronous functions of the component model, which the proxy does not have.
# --stub-wasi: no imports besides those of the interface.
"$tools/node_modules/.bin/componentize-qjs" --sync --stub-wasi --minify \
    --wit "$wit" --world router-plugin --js "$here/replicas.js" --output "$out" >/dev/null
