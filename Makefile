# Two commands do everything: `make demo` and `make test`. Both set up .venv when it is not there.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-all lint format clean

demo: $(READY)
	$(BIN)/xfer demo --out demo

test: $(READY) lint
	$(BIN)/python tests/run.py

test-all: $(READY) lint
	$(BIN)/python tests/run.py --all

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch torchvision tensorflow
	$(BIN)/pip install --quiet --editable ".[torch,tensorflow,dev]"
	touch $(READY)

clean:
	rm -rf .venv demo
