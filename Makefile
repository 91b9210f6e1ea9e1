# One .venv for everything; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadgroup

.PHONY: install demo test test-fast check fix schemas build bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "torchfinch needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing into .venv: 7 GB with PyTorch's CUDA build, so this takes minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	bash demo/run.sh

test: install
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-fast: install
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not slow'

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: install
	$(BIN)/python -c 'from torchfinch.release.cluster.crd import dump; print(dump(), end="")' > k8s/crd/canaryreleases.yaml

bench: install
	$(BIN)/python benchmarks/digits_crossval.py
	$(BIN)/python benchmarks/training.py run --together 2

build: install
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv build dist
