# The two commands a newcomer needs are `make run` and `make test`; neither needs any other first.
PYTHON ?= python3
BIN := .venv/bin
DATA := data/fashion-mnist
.DEFAULT_GOAL := run
.PHONY: run test check format data bench clean

run: $(BIN)/.run data  ## Run the quick profile to its end
	@$(BIN)/cyclical run

test: $(BIN)/.dev data  ## Run all tests
	$(BIN)/python -m pytest -q -p no:cacheprovider

check: $(BIN)/.dev  ## Format, lint and types, as in CI
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(BIN)/.dev  ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

data: $(BIN)/.run  ## Get Fashion-MNIST into data/
	@$(BIN)/cyclical data $(DATA)

bench: $(BIN)/.run data  ## Compare the training loop with Keras fit
	@$(BIN)/python benchmarks/throughput.py

clean:  ## Remove what can be made again, but no result
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "cyclical needs Python 3.11 to 3.13: make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 2; }

$(BIN)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(BIN)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(BIN)/.run $@
