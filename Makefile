# Each target does its own set-up; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3))
JOBS   ?= auto
SOURCES := bridge demo tests bench
# What a release is run with.
EXTRAS  := --extra alerts --extra amqp --extra otel --extra sftp
EXPORT  := --quiet --frozen --no-emit-project --no-header

.PHONY: help setup system demo test soak lint format bench audit sbom lock clean

help:  ## List the targets
	@sed -nE 's/^([a-z]+):[^#]*## (.*)$$/  make \1\t\2/p' Makefile | expand -t 16

setup: $(VENV)/.installed  ## Make .venv from the lock (done by every other target)

$(VENV)/.installed: pyproject.toml requirements/dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed requirements/bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	touch $@

system:  # packages of Debian that only tests use: skipped when present, or when we may not install
	.ci/system-packages

demo: setup  ## A legacy ERP, the bridge beside it, and a reckoning of what was lost (DEMO_SECONDS=30)
	$(BIN)/legacy-bridge demo

test: setup system  ## Every test but the long ones (JOBS=n, ARGS=…)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 4 --dist worksteal $(ARGS)

soak: setup system  ## The long form of the proofs: hundreds of kills, hours of load
	$(BIN)/python -m pytest -m soak --timeout 0 $(ARGS)

lint: setup  ## Style, types, direction of imports, unused dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(wildcard $(SOURCES))
	$(BIN)/lint-imports
	$(BIN)/deptry .

format: setup  ## Apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench  ## Measure the claims (ONLY=claim ROUNDS=n JSON=file)
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON))

audit: setup  ## Ask the advisory service of every locked package: needs the internet (ADVISORIES=URL of another OSV)
	.ci/audit $(BIN)

sbom: setup  ## What a release is made of, from the lock, as CycloneDX: dist/legacy-bridge-VERSION.cdx.json
	$(BIN)/python .ci/sbom.py dist $(EXTRAS)

lock: setup  # after a change of dependencies
	$(BIN)/uv lock
	$(BIN)/uv export $(EXPORT) --no-dev $(EXTRAS) -o requirements/run.txt
	$(BIN)/uv export $(EXPORT) --group dev -o requirements/dev.txt
	$(BIN)/uv export $(EXPORT) --group dev --extra bench -o requirements/bench.txt

clean:  ## Remove what the other targets made
	rm -rf $(VENV) build dist var .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
