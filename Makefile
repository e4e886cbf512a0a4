# make demo   shows what Twinwall does, with real traffic in network namespaces
# make test   all tests
# make check  what CI asks for besides: format, lints, licences, architecture
# make fuzz   fuzzes the parsers, FUZZ_SECONDS each
# make install DESTDIR=... PREFIX=/usr

SHELL := /bin/sh
CARGO ?= cargo
FUZZ_SECONDS ?= 60
PREFIX ?= /usr
RELEASE := target/release

.PHONY: all build demo test check format lint deny arch fuzz install packages clean

all: build

packages:
	@tests/install-packages

build: packages
	$(CARGO) build --release --workspace

demo: build
	@$(RELEASE)/demo

test: packages
	$(CARGO) build --release --workspace
	$(CARGO) test --workspace

check: format lint deny arch

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny:
	@command -v cargo-deny >/dev/null 2>&1 || $(CARGO) install cargo-deny --version 0.20.2 --locked
	$(CARGO) deny --log-level error check licenses bans sources

arch:
	$(CARGO) test -q -p twinwall-testbed --test architecture

fuzz: packages
	@tests/fuzz/run $(FUZZ_SECONDS)

clean:
	$(CARGO) clean
