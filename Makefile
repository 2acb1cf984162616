# The commands of this project. `make` lists them.

PYTHON ?= python3
# Where packages come from, e.g. PIP_ARGS="--index-url https://my.mirror/simple"
PIP_ARGS ?=
# Where torch comes from, e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu for the build without CUDA
TORCH_INDEX ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet $(PIP_ARGS)

.PHONY: help setup run serve test check format bench bench-peers lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.current ## make .venv with everything that is needed

.venv/.current: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Plumbline needs Python 3.11 or newer, $(PYTHON) is %d.%d: make $(MAKECMDGOALS) PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Setting up .venv: once, a few minutes"
	@$(PYTHON) -m venv .venv
	@$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) $$(grep '^torch==' requirements.lock))
	@$(INSTALL) -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m workers.engine.native || true
	@touch $@

run: setup ## run the example comparison and show what comes out
	@$(BIN)/plumbline compare examples/sigmoid-digits.json --out results --data data --report results/report.html

serve: setup ## keep the service up on http://127.0.0.1:8000
	@$(BIN)/plumbline serve

test: setup ## run all tests, two files at a time: most of them wait for something
	@$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: setup ## lint, format, types, and which part may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup ## put the code in its format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## measure and print the figures: engine, latency, memory
	@$(BIN)/python -m benchmarks.engine
	@$(BIN)/python -m benchmarks.latency

bench-peers: setup .venv-peers/.current ## measure the engine against JAX + optax, in an environment of their own
	@$(BIN)/python -m benchmarks.peers .venv-peers/bin/python

.venv-peers/.current: benchmarks/peers.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r benchmarks/peers.txt
	@touch $@

lock: ## renew requirements.lock from pyproject.toml, in an environment of its own
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) "torch==$$(sed -n 's/^torch==//p' requirements.lock)" setuptools ".[service,worker,postgres,dev]"
	@.venv-lock/bin/python -m pip freeze --all --exclude pip --exclude plumbline | sed 's/+cpu$$//' > requirements.lock
	@rm -rf .venv-lock

clean: ## remove the environment, caches, results and the data of `make run`
	@rm -rf .venv .venv-peers .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info build results data
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
