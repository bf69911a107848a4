# What one can do here. CI runs the same targets.

PYTHON ?= python3
VENV := .venv
# Where `.ci/run` puts tools that PyPI does not have.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
BIN := $(VENV)/bin
PY := $(BIN)/python
# The test processes share the machine with PostgreSQL and servers under test.
WORKERS ?= auto
WORKERS_MAX ?= 4

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv install demo run test check lint types imports protos generated \
	generate fmt sdk-lava sdk-node sdk-python bench-authorize bench-forward bench-growth bench-overload bench-workers machines faults constraints build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo ## call a gateway with a fake provider until the credit is out
	$(PY) -m lava_grpc.testing.demo

run: $(VENV)/.demo ## serve a gateway with a fake provider, and print calls to try
	$(PY) -m lava_grpc.testing.quickstart

test: $(VENV)/.dev ## run all tests; ARGS='-k name' narrows them
	$(PY) -m pytest -n $(WORKERS) --maxprocesses $(WORKERS_MAX) --dist worksteal $(ARGS)

check: lint types imports protos generated ## lint, types, import direction, protos, generated code

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

# AGAINST=revision chooses what the protos must stay compatible with.
protos: $(VENV)/.dev
	$(PY) -m tools.check_protos --against '$(AGAINST)'

generated: $(VENV)/.dev
	$(PY) -m tools.generate --check
	$(PY) -m tools.providers_doc --check
	$(PY) -m tools.rest_doc --check

generate: $(VENV)/.dev ## make generated/ and the tables of docs/
	$(PY) -m tools.generate
	$(PY) -m tools.providers_doc
	$(PY) -m tools.rest_doc

fmt: $(VENV)/.dev ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# Official clients against a running gateway; the last line says how many tests passed.
SDK := $(PY) -m pytest -q -s -p tests.sdk.closing

sdk-lava: $(VENV)/.dev ## run Lava's Node SDK against a gateway
	$(SDK) tests/sdk/test_node.py -k lava_

sdk-node: $(VENV)/.dev ## run OpenAI's and Anthropic's JavaScript clients through a gateway
	$(SDK) tests/sdk/test_node.py -k 'not lava_'

sdk-python: $(VENV)/.dev ## run the official Python clients of seven providers through a gateway
	$(SDK) tests/sdk/test_openai.py tests/sdk/test_anthropic.py tests/sdk/test_python_clients.py

bench-authorize: $(VENV)/.dev ## measure Authorize and ReportUsage against a no-op RPC; the last line is JSON
	$(PY) -m benchmarks.authorize

bench-forward: $(VENV)/.dev ## measure Forward against a bare pass-through; the last line is JSON
	$(PY) -m benchmarks.forward

# ARGS='--customers 100000 --requests 1000000' sets the size; the full one takes 30 GB.
bench-growth: $(VENV)/.dev ## measure on a million customers and ten million requests; the last line is JSON
	$(PY) -m benchmarks.growth $(ARGS)

bench-overload: $(VENV)/.dev ## offer Authorize at twice its peak; the last line is JSON
	$(PY) -m benchmarks.overload

bench-workers: $(VENV)/.dev ## load four server processes on one PostgreSQL; the last line is JSON
	$(PY) -m benchmarks.workers

# Many thousands of steps, each compared with the reference, on the core alone and on both
# engines; they take as long as a coffee.
machines: $(VENV)/.dev ## the ledger's state machines, at length
	LAVA_HYPOTHESIS_PROFILE=deep LAVA_STORE_MACHINE_RUNS=300 LAVA_STORE_MACHINE_STEPS=40 \
		$(PY) -m pytest -n $(WORKERS) --maxprocesses $(WORKERS_MAX) --timeout 0 \
		tests/property/test_ledger_machine.py tests/integration/ledger/test_store_machine.py

faults: $(VENV)/.dev ## what becomes of calls while providers, clients and databases fail
	$(PY) -m benchmarks.faults

build: $(VENV)/.dev ## make the wheel and the source archive
	$(PY) -m build

install: $(VENV)/.dev ## make .venv with all that development needs

venv: $(VENV)/bin/python

constraints: $(VENV)/.dev ## choose versions anew; the file names no hosts
	$(PY) -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-header --no-annotate \
		--python-version 3.11 --all-extras pyproject.toml --output-file constraints.txt

clean: ## remove what these targets made
	rm -rf $(VENV) .tools build dist tests/sdk/node/node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=python3.x' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are older than these files after a change, and only then is
# anything installed again. What `dev` installs includes `demo`.
$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo
