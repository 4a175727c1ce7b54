# The two commands a newcomer needs are `make run` and `make test`; neither needs any other first.
PYTHON ?= python3
BIN := .venv/bin
DATA := data/fashion-mnist
.DEFAULT_GOAL := run
PORT ?= 4200
# A server of its own that outlives a command; PREFECT_API_URL names another.
ui deploy worker: export PREFECT_API_URL ?= http://127.0.0.1:$(PORT)/api
ui deploy worker: export PREFECT_HOME ?= $(CURDIR)/.prefect
ui deploy worker: export DO_NOT_TRACK = 1
ui deploy worker: export PREFECT_SERVER_ANALYTICS_ENABLED = false
.PHONY: run test test-e2e check format data bench ui deploy worker clean

run: $(BIN)/.run data  ## Run the quick profile to its end
	@$(BIN)/cyclical run

test: $(BIN)/.dev data  ## Run all tests
	$(BIN)/python -m pytest -q -p no:cacheprovider --ignore=tests/e2e

test-e2e: $(BIN)/.dev data  ## Test the deployments with a server and a worker of their own
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/e2e

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

ui: $(BIN)/.run  ## Start a Prefect server with its UI on the loopback interface
	@PREFECT_SERVER_UI_API_URL=$(PREFECT_API_URL) $(BIN)/prefect server start --host 127.0.0.1 --port $(PORT)

deploy: $(BIN)/.run  ## Register the work pool and the deployments with that server
	@$(BIN)/prefect work-pool create gpu --type process --base-job-template deploy/process.json --overwrite
	@CYCLICAL_CHECKOUT=$(CURDIR) $(BIN)/prefect --no-prompt deploy --all

worker: $(BIN)/.run data  ## Run what is scheduled or triggered; CUDA_VISIBLE_DEVICES=N binds it to a GPU
	@$(BIN)/prefect worker start --pool gpu --limit 1

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
