# The same commands on a laptop, in a commit hook and on the build server. Everything runs in `.venv`, which is made when
# it is missing and brought up to date when pyproject.toml changes, whatever environment happens to be active.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport VIRTUAL_ENV PYTHONHOME
unexport PYTHONDONTWRITEBYTECODE  # each process of the tests would compile all modules anew

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help search test test-all test-gpu lint types format docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

search: .venv/.installed ## search and evaluate: make search ARGS="method=darts seed=1"
	@$(BIN)/python run.py $(ARGS)

test: lint types ## everything that must pass before a commit: lint, types, tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-all: lint types ## the same with the slow tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not gpu"

test-gpu: .venv/.installed-dev ## on a machine with a GPU, that it computes what the CPU does
	$(BIN)/python -m pytest -n 4 --dist loadgroup -m gpu

lint: .venv/.installed-dev ## check style and formatting (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed-dev ## check types (mypy)
	$(BIN)/mypy

format: .venv/.installed-dev ## fix style and formatting (ruff)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.installed-dev ## make the blocks of configuration in docs/ anew and build the site into site/
	$(BIN)/python docs/config_blocks.py
	$(BIN)/mkdocs build --strict

clean: ## remove caches and builds; runs and .venv stay
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache
	find . -path ./.venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# pip is the last thing that `venv` installs: without it, a first attempt was cut short and is made again.
define INSTALL
	@test -x $(BIN)/pip || { \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
			echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not; name one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; \
			exit 1; }; \
		$(PYTHON) -m venv .venv; }
	@echo "Installing into .venv; the first time takes some minutes."
	@$(BIN)/python -m pip install -q -e '$(1)'
endef

.venv/.installed: pyproject.toml
	$(call INSTALL,.)
	@touch $@

# The developer's installation contains the user's, so `make search` after `make test` installs nothing.
.venv/.installed-dev: pyproject.toml
	$(call INSTALL,.[dev])
	@touch .venv/.installed $@
