#!/bin/sh
# Builds the component: build.sh OUT.wasm [INTERFACE_DIRECTORY]
# Needs python3 with venv, and PyPI. What it installs stays in a temporary directory, unless
# PGSTEER_LANGUAGES_CACHE names one that is to be used again. Ends with 69 if its tools cannot be had.
set -eu

version=0.25.1

out=${1:?usage: build.sh OUT.wasm [INTERFACE_DIRECTORY]}
here=$(cd "$(dirname "$0")" && pwd)
wit=${2:-$here/../../../wit/v0.1}
mkdir -p "$(dirname "$out")"

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
tools=${PGSTEER_LANGUAGES_CACHE:-$temporary}/python-$version
# A copy, because compiled files are left beside the source.
mkdir "$temporary/app"
cp "$here/reporting.py" "$temporary/app"
if [ ! -x "$tools/bin/componentize-py" ]; then
    {
        python3 -m venv "$tools" &&
            "$tools/bin/pip" install --quiet --disable-pip-version-check "componentize-py==$version"
    } || {
        echo "no componentize-py $version: it takes python3 with venv, and PyPI" >&2
        exit 69
    }
fi

"$tools/bin/componentize-py" --quiet --wit-path "$wit" --world pgsteer:plugin/router-plugin \
    componentize --stub-wasi --python-path "$temporary/app" --output "$out" reporting
