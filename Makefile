# Python 3.11 to 3.13. `make setup PYTHON=python3.12` picks one; by default the first that fits is taken.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$python; break; }; done)
PARAMS ?= params/demo.yaml
BIN := .venv/bin
STAMP := .venv/.complete

# Without compiled files every kernel spends many seconds more on its imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup all test test-all test-lowest fuzz check format bench lab docs notebooks lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP)  ## install everything into .venv, at the versions of requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed, and none was found. Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Installing into .venv with $$($(PYTHON) --version); this takes about a minute."
	@rm -rf .venv && $(PYTHON) -m venv .venv || { echo "error: $(PYTHON) -m venv failed; on Debian, install python3-venv." >&2; exit 1; }
	@awk '/^[a-z]/ {found = /^uv==/} found' requirements.lock > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	@touch $(STAMP)

all: setup  ## run the five notebooks (PARAMS=params/demo.yaml)
	@$(BIN)/ser run $(PARAMS)

test: setup  ## run the tests (ten minutes on two cores)
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: setup  ## run the tests, the slow ones too
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# warnings of old versions are nobody's to mend
test-lowest: setup  ## run the tests with the lowest versions that pyproject.toml allows
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/lowest
	@$(BIN)/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct --editable ".[dev,cluster,sweep,train,notebooks,demo]"
	@build/lowest/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" -o filterwarnings=

fuzz: setup  ## try a hundred times as many damaged files and bundles, others each time (an hour)
	@SER_FUZZ=100 $(BIN)/pytest -n 2 --dist load tests/test_fuzz.py

check: setup  ## check style, docstrings, formatting, types, and which part imports which
	@$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && $(BIN)/lint-imports --no-logo --no-cache

format: setup  ## mend what `check` can mend by itself
	@$(BIN)/ruff check --fix && $(BIN)/ruff format

bench: setup  ## measure speed against the usual way (on data/TESS, or else the demo corpus)
	@$(BIN)/python benchmarks/bench.py

# what the options turn off asks hosts on the internet: news, newer versions, extensions that could be installed
lab: setup  ## open the notebooks in JupyterLab (LAB_ARGS=--allow-root where you are root)
	@$(BIN)/jupyter lab notebooks $(LAB_ARGS) --KernelManager.transport=ipc --LabApp.news_url=None \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.extension_manager=readonly

docs: setup  ## write the API pages into build/docs
	@$(BIN)/python docs/api.py build/docs && echo "build/docs/index.html"

notebooks: setup  ## write the Colab cell into every notebook, collapse it and the parameters
	@$(BIN)/python -m ser_lib.core.colab && $(BIN)/ruff format --quiet notebooks

lock: setup  ## renew requirements.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --extra dev --extra cluster --extra sweep --extra train --extra notebooks --extra demo --no-header pyproject.toml --output-file requirements.lock

clean:  ## remove .venv and all results; corpora in data/ and records in reports/ stay
	rm -rf .venv artifacts build *.egg-info .mypy_cache .pytest_cache .ruff_cache
