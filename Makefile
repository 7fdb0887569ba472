# `make` lists what there is. Every target makes the environment first if it is missing or out of date.
PYTHON ?= python3
VENV ?= .venv
# Test processes. More than the cores makes nothing faster: XLA's own threads use what one leaves over.
WORKERS ?= 2
# More words for pytest, as in: make test ARGS="tests/spi_plugins/test_returns.py -k hand"
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH := .venv-bench
comma := ,

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow lint types layers wheel-test site site-serve check format signatures hooks bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

env: $(STAMP) ## make the environment in .venv from constraints.txt

# Python compiles what is imported; compiling every file of the environment takes a minute.
# $(call make_venv,FOLDER,WHAT TO INSTALL,WHAT TO INSTALL AFTERWARDS WITHOUT ITS DEPENDENCIES)
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(1)
	@echo "Installing the environment into $(1) (some minutes the first time) ..."
	@$(1)/bin/python -m pip install --quiet --no-compile -c constraints.txt torch
	@$(1)/bin/python -m pip install --quiet --no-compile -c constraints.txt $(2)
	$(if $(3),@$(1)/bin/python -m pip install --quiet --no-compile --no-deps -c constraints.txt $(3))
	@touch $(1)/.installed
endef

$(STAMP): pyproject.toml constraints.txt
	$(call make_venv,$(VENV),-e '.[dev]',safety-gymnasium gymnax)

# Apart from the rest: what it compares with is no dependency of ours.
$(BENCH)/.installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(call make_venv,$(BENCH),-e '.[cli$(comma)envpool$(comma)plot]' -r benchmarks/requirements.txt)

demo: $(STAMP) ## in about two minutes: Deep SPI learns a task from pixels; its return, its curve and a video
	@$(BIN)/spi demo

test: $(STAMP) ## the fast tests
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-slow: $(STAMP) ## the learning runs, minutes to hours
	XLA_FLAGS= $(BIN)/pytest -n $(WORKERS) -m slow --timeout=14400 --durations=0 $(ARGS)

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## who may import whom
	$(BIN)/lint-imports

wheel-test: $(STAMP) ## build the wheel, install it into a clean environment, use it from another folder
	.ci/wheel-test $(BIN)/python

site: $(STAMP) ## build the documentation into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

site-serve: $(STAMP) ## the documentation on http://127.0.0.1:8000, built again as you write
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

check: lint types layers site wheel-test test ## everything that .ci/run runs

format: $(STAMP) ## let ruff repair and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

signatures: $(STAMP) ## write stubs of constructors and tables of arguments from the declarations
	$(BIN)/python tools/signatures.py

hooks: $(STAMP) ## run the checks before each commit
	$(BIN)/pre-commit install

bench: $(BENCH)/.installed ## beside Stable-Baselines3 and SBX, about half an hour on two cores
	$(BENCH)/bin/python benchmarks/ppo.py $(ARGS)

clean: ## remove caches and builds, but neither .venv nor runs
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
