# `make train` and `make test` are all that a fresh machine needs: each makes .venv and installs what it lacks.
# PYTHON chooses the interpreter (3.11 or newer), ARGS goes to the command: make train ARGS="model=vgg_small seed=1"
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.PHONY: train test lint format kernel-resources clean help

train: .venv/.installed-run ## train on the embedded data set
	$(BIN)/python -m cnn.train $(ARGS)

test: .venv/.installed-test ## run the tests
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/.installed-dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed-dev ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

kernel-resources: .venv/.installed-test ## write docs/benchmarks/kernel_resources.md anew (NVRTC, no GPU)
	$(BIN)/python -m benchmarks.kernel_resources --write

clean: ## remove .venv and caches; runs, packs and data stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

# The stamp is written last, so an interrupted installation is taken up again.
.venv/.installed-run: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.installed-%: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@
