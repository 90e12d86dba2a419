# `make train` and `make test` need no other set-up: each makes .venv and installs the packages it needs. README.md has the
# commands for a machine without make.
# PYTHON selects the interpreter (3.11 or newer), ARGS is passed to the command: make train ARGS="model=vgg_small seed=1"
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.PHONY: train test docs lint format kernel-resources kernel-floors main-loops check-compiled address-trace tile-efficiency step-launches mutants onnx-vectors gpu-check clean help

train: .venv/.installed-run ## train on the embedded data set
	$(BIN)/python -m cnn.train $(ARGS)

test: .venv/.installed-test ## run the tests, on all cores (ARGS="-n 0": in one process)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

lint: .venv/.installed-dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.installed-dev ## build the site of docs/ in site/, and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

format: .venv/.installed-dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

kernel-resources: .venv/.installed-test ## update docs/benchmarks/kernel_resources.md (NVRTC, no GPU): compiles what changed
	$(BIN)/python -m benchmarks.kernel_resources --write

mutants: .venv/.installed-test ## test the tests with faulty kernels: docs/benchmarks/mutants.md
	cd tests && ../$(BIN)/python -m kernel_mutants.run --write

onnx-vectors: .venv/.installed-test ## update docs/onnx_vectors.md: which of ONNX's test vectors are run
	cd tests && ../$(BIN)/python -m onnx_vectors.table --write

kernel-floors: .venv/.installed-test ## update docs/benchmarks/kernel_floors.md: bytes and operations of a training step
	$(BIN)/python -m benchmarks.kernel_floors --write

main-loops: .venv/.installed-test ## write docs/benchmarks/main_loops.md anew: machine code of the tensor-core kernels
	$(BIN)/python -m benchmarks.main_loops --write

check-compiled: .venv/.installed-test ## compile every kernel again, and compare with what is recorded of it (minutes)
	$(BIN)/python -m benchmarks.kernel_resources --check
	$(BIN)/python -m benchmarks.main_loops --check
	$(BIN)/python -m benchmarks.address_trace --measure --check

address-trace: .venv/.installed-test ## write docs/benchmarks/address_trace.md anew: bank conflicts and sectors in the emulator
	$(BIN)/python -m benchmarks.address_trace --measure --write

tile-efficiency: .venv/.installed-test ## write docs/benchmarks/tile_efficiency.md anew: padding x waves of every product
	$(BIN)/python -m benchmarks.tile_efficiency --write

step-launches: .venv/.installed-test ## write docs/benchmarks/step_launches.md anew: launches, bytes, uploads of a step
	$(BIN)/python -m benchmarks.step_launches --write

# Needs a GPU: conformance, tiles, layers, training beside PyTorch, in at most nine minutes. Each stage leaves its files in
# GPU_OUT. GPU_DATA names a pack, whose recipe is then trained. ARGS is passed on: make gpu-check ARGS="--minutes 5"
# CuPy must be installed in .venv: .venv/bin/pip install -e '.[cuda13]'. PYTHON_GPU selects another interpreter, such as
# that of an image with CuPy and PyTorch; it needs CuPy, pytest, hypothesis, SciPy, Pillow, rich and safetensors, but not
# Hydra and not this project, and .venv is not changed: make gpu-check PYTHON_GPU=python3
PYTHON_GPU ?= $(BIN)/python
GPU_OUT ?= docs/benchmarks/gpu
GPU_DATA ?=

gpu-check: $(if $(filter $(BIN)/python,$(PYTHON_GPU)),.venv/.installed-test) ## check and measure on a GPU, in nine minutes
	@$(PYTHON_GPU) -m benchmarks.gpu_check --out '$(GPU_OUT)' $(if $(GPU_DATA),--data '$(GPU_DATA)') $(ARGS)

clean: ## remove .venv and caches; runs, packs and data stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

# The stamp is written last, so that an interrupted installation is repeated.
.venv/.installed-run: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast]'
	@touch $@

.venv/.installed-%: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@
