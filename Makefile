# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO_HOME ?= data/lake
# Tests on all cores, a file on one of them; each has servers and pools of its own, so not on dozens.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test torture check format lock bench ui clean

help:  ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "lake_assets needs Python 3.11 to 3.13; say which with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into $(VENV): about 1 GB, one to three minutes."
	$(PYTHON) -m venv --clear $(VENV)
	@# The lock is complete, so pip need not look for more: --no-deps. (Debian's pip 23 would even
	@# fail over an extra like gql[requests], which it takes for another, unpinned requirement.)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/pip check --disable-pip-version-check
	@touch $@

demo: $(VENV)/.installed  ## Generate sample deliveries, run the main job on them, show what came of it.
	@$(BIN)/python -m lake_assets.samples.demo --home $(DEMO_HOME) --samples $(dir $(DEMO_HOME))samples

test: $(VENV)/.installed  ## Run every test.
	$(BIN)/python -m pytest $(PARALLEL)

torture: $(VENV)/.installed  ## Cut, freeze, crowd and refuse a lake at every step; takes an hour or two.
	@# By test, not by file: one file has most of them.
	LAKE_TEST_FULL=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal $(wildcard lake_assets_tests/torture lake_assets_tests/bad_input)

check: $(VENV)/.installed  ## Lint, types, and the tests that guard the architecture.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q lake_assets_tests/policy

format: $(VENV)/.installed  ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed  ## Measure speed, memory and growth; writes benchmarks/results/.
	$(BIN)/python -m benchmarks

ui: $(VENV)/.installed  ## Serve the Dagster UI and daemon over the demo's lake.
	$(BIN)/lake --home $(DEMO_HOME) ui

lock: $(VENV)/.installed  ## Write requirements.lock anew: hashes for every supported Python, no URLs.
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --upgrade \
	  --output-file requirements.lock

clean:  ## Remove data/lake, data/samples and everything that was built.
	rm -rf $(VENV) data/lake data/samples .pytest_cache .mypy_cache .ruff_cache
