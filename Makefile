# From a bare checkout, with only Python (>= 3.11) and make:
#   make train    set up, then run the main job: train a policy, compare it on published instances
#   make test     set up, then run the tests
# Another interpreter or place: make test PYTHON=python3.13 VENV=.venv313

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal

RUN_EXTRAS = train,viz,solvers
DEV_EXTRAS = $(RUN_EXTRAS),search,dev

# The pins for this interpreter's version, where there are some.
CONSTRAINTS = $(wildcard constraints/py$(shell $(BIN)/python -c 'import sys; print("%d%d" % sys.version_info[:2])').txt)

.PHONY: help train test nightly lint bench aot

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile
	@echo "Also: make nightly | lint | bench | aot"

train: $(VENV)/.installed-$(RUN_EXTRAS)
	$(BIN)/jaxsched train

test: $(VENV)/.installed-$(DEV_EXTRAS)
	$(PYTEST)

nightly: $(VENV)/.installed-$(DEV_EXTRAS)
	XLA_FLAGS= $(PYTEST) -m nightly

lint: $(VENV)/.installed-$(DEV_EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Peers want other versions than the pins (see `benchmarks` in pyproject.toml), so they get an environment of their own.
bench:
	$(MAKE) VENV=.venv-bench CONSTRAINTS= .venv-bench/.installed-benchmarks
	.venv-bench/bin/python benchmarks/throughput.py

# Kernel counts from the vendors' compilers, without an accelerator; the script names the wheels to install.
aot: $(VENV)/.installed-$(RUN_EXTRAS)
	$(BIN)/python benchmarks/aot.py

# One stamp per set of extras, stale when pyproject.toml or the pins change.
$(VENV)/.installed-%: pyproject.toml $(wildcard constraints/*.txt) | $(BIN)/pip
	$(BIN)/python -m pip install $(addprefix -c ,$(CONSTRAINTS)) -e ".[$*]"
	touch $@

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
