# The two commands of this project, two to torment it, one for production, and one to compare it with others. `make` alone
# explains them.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# Plugins natively, for their own tests: not in the way of those that become components.
NATIVE_DIR := $(abspath $(TARGET_DIR))/plugins-native

.PHONY: help run test chaos fuzz release bench prerequisites

help:
	@echo "make run     install what is missing, build, start a PostgreSQL primary with two replicas"
	@echo "             and pgsteer on port 9999; Ctrl-C stops everything"
	@echo "make test    install what is missing, check formatting and lints, run all tests"
	@echo "make chaos   kill, freeze and cut off servers under clients that count their money, for"
	@echo "             MINUTES=10; SEED=number does again what was done with that seed"
	@echo "make fuzz    random programs directly and through pgsteer must see the same, and the decoders"
	@echo "             get whatever comes, for MINUTES=10; SEED=number runs one program again"
	@echo "make release build the program for production: optimised, and its code laid out by what it does"
	@echo "             under load; prints where it is"
	@echo "make bench   install what is missing, compare with pgbouncer, pgpool2 and haproxy, write"
	@echo "             docs/performance.md; half an hour, or a part: ARGS=\"--only select\", ARGS=--list"

prerequisites:
	@scripts/prerequisites.sh

# exec: Ctrl-C and a signal to make's child reach the lab itself, not a shell around it.
run: prerequisites
	@echo "building pgsteer (the first time takes some minutes)"
	@cargo build -p pgsteer-proxy
	@exec $(TARGET_DIR)/debug/pgsteer lab $(ARGS)

test:
	@scripts/prerequisites.sh --test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace
	cd plugins && cargo fmt --all --check
	cd plugins && CARGO_TARGET_DIR=$(NATIVE_DIR) cargo clippy --all-targets -- -D warnings
	cd plugins && CARGO_TARGET_DIR=$(NATIVE_DIR) cargo test

chaos:
	@scripts/prerequisites.sh --test
	PGSTEER_CHAOS_MINUTES=$(or $(MINUTES),10) PGSTEER_CHAOS_SEED=$(SEED) cargo test -p pgsteer-tests --test chaos -- --ignored --nocapture

fuzz:
	@scripts/prerequisites.sh --test
	@MINUTES=$(or $(MINUTES),10) SEED=$(SEED) scripts/fuzz.sh

release:
	@scripts/prerequisites.sh --release
	@scripts/release.sh

bench:
	@scripts/prerequisites.sh --release --bench
	program=$$(scripts/release.sh) && \
		cargo bench -p pgsteer-tests --bench compare --profile dev -- --pgsteer "$$program" $(ARGS)
