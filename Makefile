# Everything a person or CI runs. `make help` lists it.
#
# Every step uses one selection of packages and features (--workspace), so that nothing heavy is ever built twice.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
SHELL := /bin/bash
.DELETE_ON_ERROR:

.PHONY: help demo demo-tor test test-processes test-engines test-tor test-tor-units lint bench bench-tor lab deps deps-tor

help:
	@echo 'make demo   bring a network up on loopback; Alice and Bob exchange texts and a file while a mailbox dies'
	@echo 'make test   all tests: units, properties, simulation, real processes'
	@echo 'make demo-tor, make test-tor, make bench-tor: the same over a private Tor network, which stays on this computer (root; Debian)'
	@echo 'make lint   formatting, clippy, documentation, licences and advisories'
	@echo 'make lab    what observers learn: all experiments with small samples, one HTML page (release build, then 10 minutes)'
	@echo 'make bench  the figures of ARCHITECTURE.md, measured now (release build, about 20 minutes)'

# What the build needs beside Rust, cc and make.
deps:
	@command -v protoc >/dev/null && exit 0; \
	if command -v apt-get >/dev/null; then \
	  run=; [ "$$(id -u)" = 0 ] || { command -v sudo >/dev/null && run='sudo -n'; } ; \
	  if [ "$$(id -u)" = 0 ] || [ -n "$$run" ]; then \
	    echo 'installing protobuf-compiler'; \
	    { $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq protobuf-compiler || \
	      { $$run apt-get update -qq && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq protobuf-compiler; }; } >/dev/null 2>&1; \
	  fi; \
	fi; \
	command -v protoc >/dev/null || { echo 'protoc is missing: install it with `sudo apt-get install protobuf-compiler`' >&2; exit 1; }
	@command -v $(firstword $(CARGO)) >/dev/null || { echo 'cargo is missing: install Rust 1.92 or later (https://rustup.rs)' >&2; exit 1; }
	@command -v cc >/dev/null || { echo 'a C compiler is missing: install it with `sudo apt-get install build-essential`' >&2; exit 1; }

# The Tor network of tests: Debian's `tor`, a bridge's pluggable transport, a clock that is off, and what makes a network namespace.
deps-tor: deps
	@missing=; for program in tor:tor obfs4proxy:obfs4proxy faketime:faketime ip:iproute2 unshare:util-linux; do \
	  command -v $${program%%:*} >/dev/null || missing="$$missing $${program##*:}"; done; \
	[ -z "$$missing" ] && exit 0; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "installing$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	  { apt-get install -y -qq --no-install-recommends $$missing || \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; }; } >/dev/null 2>&1; \
	fi; \
	for program in tor tor-gencert obfs4proxy faketime ip unshare; do command -v $$program >/dev/null || \
	  { echo "$$program is missing: install$$missing with \`sudo apt-get install$$missing\`" >&2; exit 1; }; done

# Runs what follows where nothing but loopback can be reached: the kernel keeps it at home.
AT_HOME = unshare --net $$([ "$$(id -u)" = 0 ] || echo --map-root-user) -- sh -c 'ip link set lo up && exec "$$@"' sh

demo: deps
	@echo 'building (the first time takes about ten minutes)'
	@$(CARGO) build --workspace --quiet
	@$(TARGET)/debug/veilpost-demo

demo-tor: deps-tor
	@echo 'building with Tor (the first time takes about fifteen minutes)'
	@$(CARGO) build --workspace --features tor --quiet
	@$(AT_HOME) $(TARGET)/debug/veilpost-demo --tor

# The programs first: whole-network tests start them. Networks of real processes wait most of the time, one after the other; all
# other tests compute beside them, at a lower priority. Every test is in exactly one of the two.
test: deps
	$(CARGO) build --workspace --all-targets
	$(MAKE) --no-print-directory --jobs 2 --keep-going test-processes test-engines

test-processes:
	$(CARGO) test --workspace --no-fail-fast -- real_processes::

test-engines:
	nice -n 5 $(CARGO) test --workspace --no-fail-fast -- --skip real_processes::

# With Tor: the crate `onion` with it, and all that uses it. One network at a time.
test-tor: deps-tor test-tor-units
	$(AT_HOME) $(CARGO) test --offline --workspace --features tor --test tor -- --test-threads 1

# The part of it that needs no Tor network.
test-tor-units: deps
	$(CARGO) build --workspace --bins --lib --test tor --features tor
	$(CARGO) test --workspace --features tor --lib with_tor::

# Tor in: it is a part of what is released, and what is compiled without it is compiled with it too, but for one small file.
lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features tor -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items --features tor --quiet
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check bans licenses sources; \
	 else echo 'cargo-deny is not installed: licences, bans and sources were not checked (cargo install cargo-deny --locked)'; fi

# Where results and the page go. Remove it to begin anew; a run that was stopped goes on.
LAB ?= lab-results

# A figure that is not as expected stands in the report, and is no reason not to make one. Raw packets need root.
lab: deps
	$(CARGO) build --workspace --quiet
	$(CARGO) build --release -p veilpost-lab
	@mkdir -p $(LAB)
	$(TARGET)/debug/veilpost-testnet lines --seconds 120 --out $(LAB)/lines.parquet || rm -f $(LAB)/lines.parquet
	$(TARGET)/release/veilpost-lab run --all --quick --out $(LAB) > $(LAB)/tables.txt || [ $$? = 1 ]
	$(TARGET)/release/veilpost-lab report --from $(LAB) --out $(LAB)/report.html \
	  $$([ -f $(LAB)/lines.parquet ] && echo --real $(LAB)/lines.parquet)

bench-tor: deps-tor
	$(CARGO) build --workspace --release --features tor
	$(AT_HOME) $(TARGET)/release/bench-tor

bench: deps
	$(CARGO) build --workspace --release
	$(TARGET)/release/bench-mix
	$(TARGET)/release/bench-mailbox
	$(TARGET)/release/bench-puzzle
	$(TARGET)/release/bench-replication
	$(TARGET)/release/bench-store
	$(TARGET)/release/bench-clocks
	$(TARGET)/release/bench-lab
	$(TARGET)/release/bench-loops
	$(TARGET)/release/bench-network
	$(TARGET)/release/bench-directory
