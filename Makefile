# Each target works on a fresh clone with only Python >= 3.11 and make: it creates .venv, gets uv into it and syncs
# uv.lock. `make` alone lists the targets.
PYTHON ?= python3
PORT ?= 3000
SCHEDULES ?= 200
SEED ?= 0
BENCH ?=
SCALE ?=
# The same as in deploy/kubernetes/Dockerfile. To update: change both, then run `make .venv/synced-dev` in a fresh clone.
UV := 0.13.9
BIN := .venv/bin
export DAGSTER_HOME := $(CURDIR)/.dagster
# Python runs this file whenever it starts, so that no command of .venv (dagster, dg, dlt) sends telemetry, whatever
# DAGSTER_HOME says.
NO_TELEMETRY = cp telemetry.pth "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mds_telemetry.pth"

.DEFAULT_GOAL := help
.PHONY: help run dev test test-all chaos bench scale-test lint format

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

run: .venv/synced ## Materialise the last days of the sample, or of GITHUB_ORG, and show the marts
	@$(BIN)/mds run

dev: .venv/synced ## Dagster's UI, daemon and schedule on http://127.0.0.1:3000 (or PORT)
	@$(BIN)/dg dev -w workspace.yaml --host 127.0.0.1 --port $(PORT) --log-level warning

test: .venv/synced-dev ## Run the tests that most changes need, in some eight minutes on two cores
	$(BIN)/pytest -n 3 -m "not slow"

test-all: .venv/synced-dev ## Run all tests, as CI does
	$(BIN)/pytest -n 3

chaos: .venv/synced-dev ## Disturb runs as SCHEDULES=200 seeds from SEED=0 on say, and look for what they lost, doubled or leaked
	$(BIN)/python -W ignore -m mds_assets_tests.github.chaos --schedules $(SCHEDULES) --first-seed $(SEED)
	$(BIN)/python -W ignore -m mds_assets_tests.stack.power --cuts $(SCHEDULES) --seed $(SEED)

bench: .venv/synced-dev ## Measure the project beside a plain script and Dagster alone; BENCH holds options, such as --help
	@$(BIN)/python -m benchmarks.run $(BENCH)

scale-test: .venv/synced-dev ## Back-fill on RabbitMQ, PostgreSQL and Celery workers, and kill each; SCALE holds options, such as --throughput
	@$(BIN)/python -m mds_assets_tests.github.scale $(SCALE)

lint: .venv/synced-dev ## Check style, security rules, types, imports between the halves, and the lock file
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/uv lock --check

format: .venv/synced-dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.venv/synced: pyproject.toml uv.lock telemetry.pth | $(BIN)/uv
	$(BIN)/uv sync --quiet --locked --no-dev --inexact
	@$(NO_TELEMETRY)
	@touch $@

# Compiled once: the tests start hundreds of processes, also where PYTHONDONTWRITEBYTECODE is set.
.venv/synced-dev: pyproject.toml uv.lock telemetry.pth | $(BIN)/uv
	$(BIN)/uv sync --quiet --locked --all-extras --compile-bytecode
	@$(NO_TELEMETRY)
	@touch $@ .venv/synced

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python >= 3.11 is needed, {sys.executable} is {sys.version.split()[0]}: run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
