# The commands of the README; each installs what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= $(shell command -v cargo || echo "$$HOME/.cargo/bin/cargo")

# SHORT=1: a few seconds instead of minutes.
SHORT ?=
# The number of rounds of `make faults`.
ROUNDS ?= 20

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1|\2/' | awk -F'|' '{ printf "  %-14s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## Install what is missing: a PostgreSQL server, setpriv, a C compiler and make
	@scripts/setup

.PHONY: run
run: ## Build and serve on http://127.0.0.1:8080, with a private PostgreSQL
	@scripts/run

.PHONY: test
test: ## Check formatting and lints, run all tests, and run the tour
	@scripts/test

.PHONY: bench
bench: setup ## Measure Tenure against its peers (SHORT=1: a quick look; ALONE=1: only a large log and an open snapshot; REPLAY=1: only rebuilds, comparisons and seeds; SUBSCRIBERS=1: only subscribers; RELAY=1: only the relay to JetStream)
	@scripts/nats
	$(CARGO) bench --locked --bench peers -- $(if $(SHORT),--short) $(if $(ALONE),--alone) $(if $(REPLAY),--replay) $(if $(SUBSCRIBERS),--subscribers) $(if $(RELAY),--relay)

.PHONY: faults
faults: setup ## Run the fault tests in many rounds: kill processes, cut connections, fill disks (ROUNDS=20)
	TENURE_FAULT_ROUNDS=$(ROUNDS) $(CARGO) test --locked --test tenure -- fault --nocapture
