# `make` alone explains itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test test-all soak lint bench bench-peers clean

help:
	@echo "make demo      install into $(VENV), train on the simulated demo record, show the results"
	@echo "make test      install, run the default tests (a few minutes)"
	@echo "make test-all  also the slow ones"
	@echo "make soak      kill jobs at random for MINUTES=5, resume them, compare; SEED=7 for the same jobs again"
	@echo "make lint      format check, lint, types"
	@echo "make bench     time steps, windows, jobs, start-up; results go to benchmarks/results/"
	@echo "make bench-peers  the same beside PyTorch, in an environment of its own"
	@echo "make clean     remove $(VENV) and caches; runs in outputs/ stay"

# Python 3.11 or later, whatever it is called here.
$(STAMP): pyproject.toml constraints.txt
	@PY=$$(for p in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done); \
	test -n "$$PY" || { echo "seqconv needs Python 3.11 or later with the venv module"; exit 1; }; \
	test -x $(BIN)/python || $$PY -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/seqconv-train

# Side by side, a file of tests in one process: each starts TensorFlow, which takes up to 6 GB in the fuzz.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	$(PYTEST)

test-all: $(STAMP) lint
	$(PYTEST) -m "slow or not slow"

MINUTES ?= 5
soak: $(STAMP)
	$(BIN)/python tests/soak/soak.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/bench.py

bench-peers: $(STAMP)
	test -x .venv-torch/bin/python || $(BIN)/python -m venv .venv-torch
	.venv-torch/bin/pip install --quiet torch==2.13.0 numpy
	$(BIN)/python benchmarks/bench.py --torch .venv-torch/bin/python

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
