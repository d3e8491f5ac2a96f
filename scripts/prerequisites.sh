#!/bin/sh
# Installs what building and running pgsteer needs and this machine lacks: a C compiler with libclang,
# make, PostgreSQL's server programs, and a way to compile for wasm32-unknown-unknown.
# Does nothing, in well under a second, when all of it is there.
#
#   scripts/prerequisites.sh            to build and run
#   scripts/prerequisites.sh --build    to build only (no PostgreSQL)
#   scripts/prerequisites.sh --test     to test: with Pgpool-II, which is compared with, and valgrind,
#                                       which counts instructions
#   scripts/prerequisites.sh --release  to build for production: with BOLT, which lays out code
#   scripts/prerequisites.sh --bench    to compare with other proxies as well

set -eu

want_servers=yes
want_pgpool=no
want_valgrind=no
want_bench=no
want_bolt=no
for argument in "$@"; do
    case $argument in
    --build) want_servers=no ;;
    --test)
        want_pgpool=yes
        want_valgrind=yes
        ;;
    --release) want_bolt=yes ;;
    --bench)
        want_pgpool=yes
        want_bench=yes
        ;;
    *)
        echo "usage: $0 [--build | --test | --release | --bench]" >&2
        exit 2
        ;;
    esac
done

say() { echo "prerequisites: $*" >&2; }

die() {
    say "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# True when one of the arguments, the matches of a shell pattern, exists.
any_exists() {
    for path in "$@"; do
        if [ -e "$path" ]; then return 0; fi
    done
    return 1
}

have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || any_exists /usr/lib/llvm-*/lib/libclang.so* \
        /usr/lib/*/libclang*.so* /usr/lib64/libclang.so* /usr/lib/libclang.so* /usr/local/lib/libclang.so*
}

# Looks where the test kit looks: PGSTEER_PG_BIN, pg_config, Debian's directories, PATH.
have_postgres() {
    if [ -n "${PGSTEER_PG_BIN:-}" ]; then
        [ -x "$PGSTEER_PG_BIN/initdb" ]
        return
    fi
    any_exists /usr/lib/postgresql/*/bin/initdb || have initdb ||
        { have pg_config && [ -x "$(pg_config --bindir)/initdb" ]; }
}

# With rustup's standard library for the target, a plain cargo build does.
have_wasm_std() {
    libdir=$(rustc --print target-libdir --target wasm32-unknown-unknown 2>/dev/null) &&
        any_exists "$libdir"/libstd-*.rlib
}

# Debian's second toolchain comes with the sources of the standard library, which is then compiled.
have_wasm_debian() {
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && any_exists /usr/bin/wasm-ld-* &&
        any_exists /usr/src/rustc-*/library/std/Cargo.toml \
            /usr/lib/rustlib/src/rust/library/std/Cargo.toml
}

have_wasm() { have_wasm_std || have_wasm_debian; }

# Where rustup cannot reach its servers it would retry for minutes.
add_wasm_with_rustup() {
    have rustup || return 1
    say "adding the Rust target wasm32-unknown-unknown"
    timeout 60 rustup target add wasm32-unknown-unknown >/dev/null 2>&1 && have_wasm_std
}

# Prints the command that makes us root, nothing when we are.
as_root() {
    if [ "$(id -u)" -ne 0 ]; then echo sudo; fi
}

apt_install() {
    # shellcheck disable=SC2046,SC2086 # nothing or one word; a list of packages
    $(as_root) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $1 >&2
}

# Debian creates and starts a server with the package, on the port the lab wants. Only said to a
# machine that had no PostgreSQL before.
without_default_cluster() {
    apt_install postgresql-common
    # shellcheck disable=SC2046
    $(as_root) sed -i 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf
}

# Debian starts a service with the package, now and at every boot, on a port the lab may want. Only
# said to a machine that had no Pgpool-II before; where nothing was started this does nothing.
without_pgpool_service() {
    # shellcheck disable=SC2046
    $(as_root) invoke-rc.d pgpool2 stop >&2 || say "the service pgpool2 was not stopped"
    # shellcheck disable=SC2046
    $(as_root) update-rc.d pgpool2 disable >&2 || say "the service pgpool2 was not disabled"
}

install_packages() {
    packages=$1
    if ! have apt-get; then
        die "please install these (names of Debian's packages), then try again: $packages"
    fi
    if [ "$(id -u)" -ne 0 ] && ! have sudo; then
        die "please run as root: apt-get update && apt-get install$packages"
    fi
    say "installing$packages"
    # shellcheck disable=SC2046
    $(as_root) apt-get update -q >&2 || say "apt-get update failed, trying with the lists at hand"
    case $packages in
    *postgresql*) without_default_cluster || die "cannot install postgresql-common" ;;
    esac
    apt_install "$packages" || die "cannot install$packages"
    case $packages in
    *pgpool2*) without_pgpool_service ;;
    esac
}

have cargo || die "Rust is missing (1.95 or later): see https://rustup.rs"

missing=
need() { missing="$missing $*"; }

have cc || need gcc libc6-dev
{ have clang && have_libclang; } || need clang libclang-dev
have make || need make
if [ "$want_servers" = yes ]; then
    { have_postgres && have psql && have pgbench; } || need postgresql
fi
if [ "$want_pgpool" = yes ]; then
    have pgpool || [ -x /usr/sbin/pgpool ] || need pgpool2
fi
if [ "$want_bench" = yes ]; then
    have pgbouncer || [ -x /usr/sbin/pgbouncer ] || need pgbouncer
    have haproxy || [ -x /usr/sbin/haproxy ] || need haproxy
    have strace || need strace
fi
if ! have_wasm && ! add_wasm_with_rustup; then
    need rustc-web cargo-web rust-web-src lld-22
fi

[ -z "$missing" ] || install_packages "$missing"

# Where there is no such package the test that counts instructions says so and is left out.
if [ "$want_valgrind" = yes ] && ! have valgrind; then
    (install_packages " valgrind") || say "there is no valgrind: instructions are not counted"
fi

# The newest there is, and if there is none the release goes without.
if [ "$want_bolt" = yes ] && ! have llvm-bolt && ! any_exists /usr/lib/llvm-*/bin/llvm-bolt; then
    bolt=
    if have apt-cache; then
        bolt=$(apt-cache search --names-only '^bolt-[0-9]+$' | cut -d' ' -f1 | sort -V | tail -1)
    fi
    if [ -z "$bolt" ] || ! (install_packages " $bolt"); then
        say "there is no BOLT: code is not laid out by what it does"
    fi
fi

have_wasm || die "there is no way to compile for wasm32-unknown-unknown; try: rustup target add wasm32-unknown-unknown"
if [ "$want_servers" = yes ]; then
    have_postgres || die "PostgreSQL's server programs were installed but are not found; set PGSTEER_PG_BIN"
fi
