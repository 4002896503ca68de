# Needs Python 3.11, git, gcc and make; everything else goes into .venv.

PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.castore-installed
TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help venv install lint format test demo clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  \1\t\2/' | expand -t 14

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

test: install ## run the tests; TESTS="-k name -x" passes options to pytest
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest $(TESTS)

demo: install ## run the tour of the command line in a temporary folder
	PATH="$(abspath $(BIN)):$$PATH" bash docs/examples/demo.sh

clean: ## remove the virtual environment and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
