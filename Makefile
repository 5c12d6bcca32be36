# `make demo`, `make test` and `make docs` do everything. Each sets up .venv when it is not there.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS := .venv/.docs

.PHONY: demo test test-all lint format docs pictures clean

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

docs: $(DOCS)
	$(BIN)/sphinx-build -q -n -W --keep-going -b html docs docs/_build/html
	@echo docs/_build/html/index.html

pictures: $(READY)
	$(BIN)/python docs/pictures.py

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch torchvision tensorflow
	$(BIN)/pip install --quiet --editable ".[torch,tensorflow,jax,dev]"
	touch $(READY)

$(DOCS): pyproject.toml # no framework is needed
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[docs]"
	touch $(DOCS)

clean:
	rm -rf .venv demo docs/_build
