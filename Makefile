# What a person types. Every target does its own set-up: tools/setup installs what is missing (as root, or with sudo for that step only).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
LISTS ?=

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## a live hotspot on this machine: try it as a guest (LISTS=DIR names real block lists)
	@. tools/setup lab
	cargo build --quiet --bins
	data=$$(mktemp -d)
	target/debug/sheshi-dashboard serve --data "$$data" --socket "$$data/proxy.sock" & dashboard=$$!
	trap 'kill $$dashboard 2>/dev/null || true; wait $$dashboard || true; rm -rf "$$data"' EXIT
	until [ -S "$$data/proxy.sock" ] || ! kill -0 $$dashboard; do sleep 0.1; done
	target/debug/sheshi-lab up --dashboard "$$data/proxy.sock" $(if $(LISTS),--lists "$(LISTS)")

test: ## everything: unit, golden, packets, lab flows, browser, a short search by fuzzing, root stage
	@. tools/setup test
	cargo build --workspace --bins
	cargo test --workspace
	fuzz/search 2
	tools/as-root tests/root-stage

bench: ## sheshi side by side with its peers; one table (SERVERS="sheshi pdns", ARGS="--only cpu --reps 3")
	@. tools/setup bench
	cd benches && LISTS="$(if $(LISTS),$(abspath $(LISTS)))" ./run.sh $(ARGS) $(SERVERS) && cat out/tables.md

bench-record: ## the whole table, for the record, on a quiet machine: hours (LISTS=DIR names real block lists)
	@. tools/setup bench
	cd benches && LISTS="$(if $(LISTS),$(abspath $(LISTS)))" ./run.sh --reps 15 --starts 5 --huge-starts 3 $(SERVERS) && cat out/tables.md

bench-micro: ## match, verdict, cache hit, packet to packet and compile, each by itself (ARGS="cached" names some)
	@. tools/setup build
	cargo bench -p sheshi-benches --bench micro -- $(ARGS)

fuzz: ## looks a minute long in each parser for bytes that break it; what is found stays in the tests
	@. tools/setup build
	PROFILE=fuzz KEEP=1 fuzz/search 60

chaos: ## 200 mishaps of the firewall at random, while a stranger knocks and a guest's stream runs; the result goes on record
	@. tools/setup test
	mkdir -p tests/record
	SHESHI_CHAOS=200 SHESHI_CHAOS_RECORD="$$PWD/tests/record/chaos" cargo test -p sheshi-firewall --test chaos
	cat tests/record/chaos

lint: ## formatting, clippy, documentation, licences of what we depend on
	@. tools/setup build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --quiet
	if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; fi

test-fresh: ## both commands in new Debian 12 and 13 roots; result goes on record
	@tools/test-fresh

SERVERS ?=
ARGS ?=

.PHONY: help run test bench bench-record bench-micro fuzz chaos lint test-fresh

deb: ## Debian packages of a gateway, in out/appliance/deb
	@. tools/setup build
	appliance-image/make-deb

deb-test: deb ## installs, runs, upgrades, removes and purges them in new Debian roots (as root)
	@tools/as-root appliance-image/test-units
	tools/as-root appliance-image/test-deb

image: deb ## the image of a gateway that is nothing else, in out/appliance/image (as root)
	@tools/as-root appliance-image/make-image

image-test: ## boots the image in QEMU and looks at it from inside (as root)
	@tools/as-root appliance-image/test-image

.PHONY: deb deb-test image image-test
