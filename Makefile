# make demo : set up, build the embedded demonstration, open the dashboard on 127.0.0.1
# make test : set up, run the whole suite
# make lint : set up, check style, format, imports and types
# make pins : write requirements*.txt from pyproject.toml

# The newest that runs: a version manager leaves names behind that start nothing.
PYTHON ?= $(shell for one in python3.13 python3.12 python3.11; do \
	$$one -c "" 2>/dev/null && echo $$one && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install-ray demo test test-fast lint pins install dashboard clean

help:
	@sed -n 's/^# //p' Makefile | head -4

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(VENV)/.installed

# The suite runs an audit on a local Ray too where this is installed.
$(VENV)/.installed-ray: requirements-ray.txt | $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	touch $@

install-ray: $(VENV)/.installed-ray

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/python -m saliency_core demo

dashboard: $(VENV)/.installed
	$(BIN)/python -m saliency_core dashboard

# Two workers of one thread each; a file of tests stays together, so that it builds its models once.
PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(VENV)/.installed-dev
	$(PYTEST)

test-fast: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy saliency_core

COMPILE := $(BIN)/uv pip compile --quiet $(UPDATE) pyproject.toml

pins:
	$(COMPILE) --output-file requirements.txt
	$(COMPILE) --group dev --constraints requirements.txt --output-file requirements-dev.txt
	$(COMPILE) --extra ray --constraints requirements-dev.txt --output-file requirements-ray.txt

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache build *.egg-info
