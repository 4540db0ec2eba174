# make demo : set up, build the embedded demonstration, open the dashboard on 127.0.0.1
# make test : set up, run the whole suite

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install-ray demo test test-fast lint install dashboard clean

help:
	@sed -n 's/^# //p' Makefile | head -2

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed; set PYTHON=/path/to/python3.11"; exit 1; }
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

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
