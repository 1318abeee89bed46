# One entry point per task, the same at the desk and in CI. `make demo` and `make test` work as the
# first command: they make .venv themselves.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
DEMO := build/demo
# Two workers fill the two cores of CI. With a third one, tests of what a busy broker does wait in vain.
TEST_WORKERS ?= 2

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 15

.PHONY: install
install: .venv/.dev ## Make .venv with everything to work on the project

.venv/.run: requirements/run.txt tools/make-venv tools/build_codec.py mycelium/core/_codec.c
	@tools/make-venv run
	@touch $@

.venv/.dev: requirements/dev.txt requirements/run.txt tools/make-venv tools/build_codec.py mycelium/core/_codec.c
	@tools/make-venv dev
	@touch .venv/.run $@

.venv/.peers: requirements/peers.txt .venv/.dev
	@tools/make-venv peers
	@touch $@

# monolith, bundled or distributed: in one process, in several, or in several through a broker.
MODE ?= monolith
.PHONY: demo
demo: .venv/.run ## Run the whole system on a recorded capture; report in build/demo
	@$(BIN)/mycelium demo --mode $(MODE) --summary $(DEMO)/summary.json
	@$(BIN)/python -m adapters.report $(DEMO)

# BLOCKS=60 ends it after so many blocks, else Ctrl-C does.
.PHONY: demo-live
demo-live: .venv/.run build/node-tools/node_modules ## Run the whole system on a node that trades; report in build/demo-live
	@$(BIN)/python -m adapters.polygon demo-live $(if $(BLOCKS),--blocks $(BLOCKS))
	@$(BIN)/python -m adapters.report build/demo-live

build/node-tools/node_modules:
	tools/install-system-parts

.PHONY: test
test: .venv/.dev ## Run all tests with coverage
	$(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist worksteal --cov --cov-report=term
	MYCELIUM_CODEC=python $(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) -q tests/unit/core tests/conformance

.PHONY: lint
lint: .venv/.dev ## Style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: .venv/.dev wheel ## mypy over everything, pyright over the public API of the built wheel
	$(BIN)/mypy
	@rm -rf build/typed
	$(BIN)/python -m zipfile -e build/dist/*.whl build/typed
	cd build && PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=typed pyright --ignoreexternal --verifytypes mycelium

.PHONY: spec
spec: .venv/.dev ## Hold code, topologies and generated pages to system.yaml
	$(BIN)/mycelium spec check
	$(BIN)/mycelium spec diagram --check docs/reference/system.md
	$(BIN)/mycelium spec asyncapi --check docs/reference/asyncapi.yaml
	$(BIN)/python -m compose.grafana.boards --check

.PHONY: dashboards
dashboards: .venv/.dev ## Write the dashboards of Grafana from compose/grafana
	$(BIN)/python -m compose.grafana.boards

.PHONY: bench
bench: .venv/.dev ## Measure the hot paths, and a late reader that catches up
	$(BIN)/python -m benchmarks.catch_up
	$(BIN)/python -m pytest benchmarks --benchmark-columns=min,median,max,rounds --benchmark-sort=name -s

.PHONY: bench-smoke
bench-smoke: .venv/.dev ## Run every benchmark once, for correctness
	$(BIN)/python -m pytest benchmarks --benchmark-disable -q
	$(BIN)/python -m benchmarks.catch_up --backlog 20000 --rate 2000 --seconds 1
	$(BIN)/python -m benchmarks.scaling --tiny
	$(BIN)/python -m benchmarks.observing --rounds 1 --messages 5000
	$(BIN)/python -m benchmarks.regression --only-show --rounds 1 --seconds 0.02

.PHONY: bench-check
bench-check: .venv/.dev ## Compare with raw ZeroMQ, and fail if something has become slower
	$(BIN)/python -m benchmarks.regression

.PHONY: bench-scaling
bench-scaling: .venv/.dev ## More readers, publishers, topics, messages and load; page in build/scaling.html
	@mkdir -p build
	$(BIN)/python -m benchmarks.scaling --rounds 3 --json build/scaling.json --plot build/scaling.html

.PHONY: bench-observing
bench-observing: .venv/.dev ## What it costs to be traced and to be scraped
	$(BIN)/python -m benchmarks.observing

# The servers of redis and NATS come with tools/install-system-parts. A peer that is not there has a row that says so.
.PHONY: bench-peers
bench-peers: .venv/.peers ## The same messages through us and through others, side by side
	$(BIN)/python -m benchmarks.peers --messages $(PEER_MESSAGES)
PEER_MESSAGES ?= 200000

# Twenty times as many simulated lives as `make test`; a failing one is printed with what repeats it.
SEEDS ?= 3000
.PHONY: simulate
simulate: .venv/.dev ## Search longer for faults in the delivery machines: make simulate SEEDS=3000
	SIMULATION_EXAMPLES=$(SEEDS) $(BIN)/python -m pytest tests/simulation --timeout 3600

.PHONY: chaos
chaos: .venv/.dev ## Kill real processes while a million messages pass: nothing may be lost
	$(BIN)/python -m tests.chaos --messages $(MESSAGES)
MESSAGES ?= 1000000

.PHONY: live
live: .venv/.dev ## Follow a real node through failing endpoints: 10,000 trades, 20 reorganisations, three kills
	LIVE=whole $(BIN)/python -m pytest tests/live/test_faults.py -s -q

.PHONY: memory
memory: .venv/.dev ## Measure what a broker holds with 400 clients and 5,000 topics
	MEMORY_MESSAGES=200000 $(BIN)/python -m pytest tests/integration/test_broker_memory.py -s -q

.PHONY: wheel
wheel: .venv/.dev ## Build the wheel
	@rm -rf build/dist
	$(BIN)/python -m hatchling build -t wheel -d build/dist

# Further arguments of pip-audit: make audit AUDIT="--vulnerability-service osv"
AUDIT ?=
.PHONY: audit
audit: .venv/.dev ## Ask whether a vulnerability is known in what is pinned to run
	$(BIN)/python tools/audit.py requirements/run.txt $(AUDIT)

# It warns that the file does not say which package needs which: pins are a list.
.PHONY: sbom
sbom: .venv/.dev ## Write what is pinned to run as CycloneDX, validated, to build/sbom.cdx.json
	@mkdir -p build
	$(BIN)/python -W 'ignore:The Component this BOM' -m cyclonedx_py requirements requirements/run.txt \
		--pyproject pyproject.toml --output-reproducible --output-format JSON --validate \
		--output-file build/sbom.cdx.json

.PHONY: ci
ci: lint types spec audit sbom bench-smoke bench-check demo test ## Everything that CI runs

.PHONY: clean
clean: ## Remove .venv and everything that was built
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
