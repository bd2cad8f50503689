# make run: set up, fit the bundled image, write pictures. make test: the same set-up, then the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help install run test format check bench clean

help:           ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

install: $(VENV)/installed   ## create .venv with everything, for use and development

run: install    ## fit: make run ARGS="task=audio model=finer"
	$(BIN)/python train.py $(ARGS)

test: install   ## checks and tests; INR_DATA=DIR adds the tests on real data, ARGS="-k name" selects
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto -m "not slow and not gpu" $(ARGS)

format: install ## format and sort the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: install  ## lint and type check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## measure; results go to benchmarks/README.md by hand
	$(BIN)/python benchmarks/step.py $(ARGS)
	$(BIN)/python benchmarks/dictionary.py
	$(BIN)/python benchmarks/nerf.py
	$(BIN)/python benchmarks/sdf.py derivatives

clean:          ## remove .venv and caches; outputs/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
