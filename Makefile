# Needs Python 3.11, git, gcc and make; everything else goes into .venv.

PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.castore-installed
AZURITE := .azurite/node_modules/.bin/azurite-blob
TESTS ?=
# Tests at once: one a processor, up to four.
WORKERS ?= --numprocesses auto --maxprocesses 4 --dist worksteal
HARNESS ?= kill
BUDGET ?= 30m
MINUTES ?= 60
BENCH ?=
FIGURES ?= docs/benchmarks/figures.jsonl
PEERS ?=
PEER_FIGURES ?= docs/benchmarks/peers.jsonl
PEER_CACHE ?= .benchmarks

.DEFAULT_GOAL := help
.PHONY: help venv install lint format test test-long soak bench bench-peers demo clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

venv: $(BIN)/python ## make the virtual environment

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

install: $(INSTALLED) ## install castore and what its tests need into it

$(INSTALLED): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

lint: install ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## rewrite the sources in the one format
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

# The tests of Azure want its emulator, which npm brings; without npm they are skipped.
$(AZURITE):
	@command -v npm > /dev/null || exit 0; npm install --silent --no-audit --no-fund --prefix .azurite azurite@3.35.0 \
		|| echo "Azurite was not installed: its tests are skipped"

test: install $(AZURITE) ## run the tests; TESTS="-k name -x" passes options to pytest
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest $(WORKERS) $(TESTS)

test-long: install ## one fault harness for long, HARNESS=kill BUDGET=30m; goes on where it was ended
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m tests.harness $(HARNESS) --long --budget $(BUDGET)

soak: install ## mixed load with faults on one store, MINUTES=60; reports what it found
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m tests.harness.soak --minutes $(MINUTES) --report

bench: install ## measure speed and size against the limits of this machine; half an hour, 12 GB
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m benchmarks --quiet --json $(FIGURES) $(BENCH)
	$(BIN)/python -m benchmarks.plots $(FIGURES) docs/benchmarks

bench-peers: install ## compare with restic, borg, git, casync and DVC; hours, 15 GB; PEERS="--corpora reports"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks.peers --install --cache $(PEER_CACHE)
	$(BIN)/python -m benchmarks.peers --cache $(PEER_CACHE) --json $(PEER_FIGURES) $(PEERS)
	$(BIN)/python -m benchmarks.peers --cache $(PEER_CACHE) --show --json $(PEER_FIGURES) > docs/benchmarks/peers.txt
	$(BIN)/python -m benchmarks.plots $(PEER_FIGURES) docs/benchmarks

demo: install ## run the tour of the command line in a temporary folder
	PATH="$(abspath $(BIN)):$$PATH" bash docs/examples/demo.sh

clean: ## remove the virtual environment and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
