# make demo   shows what Twinwall does, with real traffic in network namespaces, and draws it in
#             target/demo/report.html (DEMO_OPTIONS='--rules 10000' with more rules)
# make test   all tests
# make check  what CI asks for besides: format, lints, licences, architecture, units
# make fuzz   fuzzes the parsers, FUZZ_SECONDS each
# make soak   a million steps of the simulated pair
# make soak-policy        random reloads on both nodes of a pair during failovers, for
#                         SOAK_SECONDS, with seed SOAK_SEED
# make soak-pair   200 random failovers of a pair under load (SOAK_OPTIONS='--failovers 20 --seed 7')
# make asan   the classifier's unsafe code under AddressSanitizer
# make bench-vrrp         a pair of gateways beside keepalived, into docs/performance.md
# make bench-pair         replication and failover beside keepalived with conntrackd, into
#             docs/performance.md; as root it raises the machine's own nf_conntrack_max for the
#             last row and puts it back (BENCH_OPTIONS=--keep-limits leaves that row out)
# make bench-classifier   the classifier beside other engines, into docs/performance.md
# make install DESTDIR=... PREFIX=/usr

SHELL := /bin/sh
CARGO ?= cargo
DEMO_OPTIONS ?=
FUZZ_SECONDS ?= 60
BENCH_RUNS ?= 5
BENCH_OPTIONS ?=
SOAK_OPTIONS ?=
SOAK_SECONDS ?= 300
SOAK_SEED ?= 1
PREFIX ?= /usr
RELEASE := target/release

.PHONY: all build demo test check format lint deny arch units fuzz soak soak-policy soak-pair asan bench-vrrp \
	bench-pair bench-classifier install packages clean

all: build

packages:
	@tests/install-packages

build: packages
	$(CARGO) build --release --workspace

demo: build
	@$(RELEASE)/demo $(DEMO_OPTIONS)

# The tests run against the programs as they are released.
test: build
	TWINWALL_BIN_DIR=$(CURDIR)/$(RELEASE) $(CARGO) test --workspace

check: format lint deny arch units

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny:
	@command -v cargo-deny >/dev/null 2>&1 || $(CARGO) install cargo-deny --version 0.20.2 --locked
	$(CARGO) deny --log-level error check licenses bans sources

arch:
	$(CARGO) test -q -p twinwall-testbed --test architecture

units:
	@systemd/check

fuzz: packages
	@tests/fuzz/run $(FUZZ_SECONDS)

soak:
	$(CARGO) run --release -p twinwall-ctsync --example soak -- --seeds 50 --steps 20000

soak-policy: build
	TWINWALL_BIN_DIR=$(CURDIR)/$(RELEASE) TWINWALL_POLICY_SEED=$(SOAK_SEED) \
		TWINWALL_POLICY_SECONDS=$(SOAK_SECONDS) \
		$(CARGO) test -p twinwall-testbed --test vrrp -- reloads:: --nocapture

soak-pair: build
	@$(RELEASE)/testbed soak-failover $(SOAK_OPTIONS)

asan:
	@policy/tests/asan

bench-vrrp: build
	@$(RELEASE)/testbed bench-vrrp --runs $(BENCH_RUNS) --write docs/performance.md

bench-pair: build
	@$(RELEASE)/testbed bench-pair --runs $(BENCH_RUNS) --write docs/performance.md \
		--json $(RELEASE)/bench-pair.json $(BENCH_OPTIONS)

bench-classifier: packages
	@policy/bench/run

# Afterwards: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload
install:
	install -D -m 0755 $(RELEASE)/twinwalld $(DESTDIR)$(PREFIX)/sbin/twinwalld
	install -D -m 0755 $(RELEASE)/twinwall $(DESTDIR)$(PREFIX)/bin/twinwall
	install -D -m 0644 systemd/twinwall.service $(DESTDIR)$(PREFIX)/lib/systemd/system/twinwall.service
	install -D -m 0644 systemd/twinwall.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/twinwall.conf
	install -D -m 0644 systemd/twinwall.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/twinwall.conf
	install -D -m 0644 docs/man/twinwall.1 $(DESTDIR)$(PREFIX)/share/man/man1/twinwall.1
	install -D -m 0644 docs/man/twinwall-policy.5 $(DESTDIR)$(PREFIX)/share/man/man5/twinwall-policy.5
	install -D -m 0644 docs/man/twinwalld.yaml.5 $(DESTDIR)$(PREFIX)/share/man/man5/twinwalld.yaml.5
	install -D -m 0644 docs/man/twinwalld.8 $(DESTDIR)$(PREFIX)/share/man/man8/twinwalld.8

clean:
	$(CARGO) clean
