# The two commands a newcomer needs are `make run` and `make test`; neither needs any other first.
PYTHON ?= python3
BIN := .venv/bin
DATA := data/fashion-mnist
.DEFAULT_GOAL := run
PORT ?= 4200
COUNT ?= 50
SEED ?= 0
HOST = 127.0.0.1
POOL ?= process
GPUS ?= $(words $(wildcard /dev/nvidia[0-9] /dev/nvidia[0-9][0-9]))
# A server of its own that outlives a command; PREFECT_API_URL names another.
ui deploy worker: export PREFECT_API_URL ?= http://127.0.0.1:$(PORT)/api
ui deploy worker: export PREFECT_HOME ?= $(CURDIR)/.prefect
ui deploy worker: export DO_NOT_TRACK = 1
ui deploy worker: export PREFECT_SERVER_ANALYTICS_ENABLED = false
# In memory, Prefect's own choice, a restart of the server would forget who holds which slot.
ui: export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE ?= prefect.server.concurrency.lease_storage.filesystem
.PHONY: run test test-e2e test-faults faults check format data bench docs ui deploy worker image clean

run: $(BIN)/.run data  ## Run the quick profile to its end
	@$(BIN)/cyclical run

test: $(BIN)/.dev data  ## Run the tests, but for e2e and faults
	$(BIN)/python -m pytest -q -p no:cacheprovider -n auto --maxprocesses 4 --dist worksteal --ignore=tests/e2e --ignore=tests/faults

test-e2e: $(BIN)/.dev data  ## Test the deployments with a server and a worker of their own
	$(BIN)/python -m pytest -q -p no:cacheprovider -n auto --maxprocesses 2 --dist loadfile tests/e2e

test-faults: $(BIN)/.dev data  ## Kill, starve and damage a few runs, as CI does; a part needs root and faketime
	$(BIN)/python -m pytest -q -p no:cacheprovider -n auto --maxprocesses 2 --dist worksteal tests/faults

faults: $(BIN)/.dev data  ## Kill many runs: COUNT=50, at moments that SEED=0 draws
	$(BIN)/python -m tests.faults.campaign --count $(COUNT) --seed $(SEED)

check: $(BIN)/.dev  ## Format, lint and types, as in CI
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(BIN)/.dev  ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

data: $(BIN)/.run  ## Get Fashion-MNIST into data/
	@$(BIN)/cyclical data $(DATA)

bench: $(BIN)/.bench data  ## Measure speed, overheads and growth; SAVE=FOLDER keeps the figures
	@for each in throughput overheads growth; do \
		$(BIN)/python -m benchmarks.$$each $(if $(SAVE),--save '$(SAVE)') || exit; done

docs: $(BIN)/.dev  ## Write README's results anew; STORE=artifacts NAME=quick WHOLE=1 takes a finished run in first
	$(BIN)/python -m benchmarks.docs $(if $(STORE),'$(STORE)' $(NAME)) $(if $(WHOLE),--whole)
	$(BIN)/python -m benchmarks.scaling --write

ui: $(BIN)/.run  ## Start a Prefect server with its UI; HOST=0.0.0.0 for others, with a password
	@case "$(HOST)" in 127.*|localhost|::1) ;; *) test -n "$$PREFECT_SERVER_API_AUTH_STRING" || { echo \
		"cyclical: HOST=$(HOST) lets others run code here: set PREFECT_SERVER_API_AUTH_STRING=name:password" \
		"(docs/servers.md)" >&2; exit 2; } ;; esac
	@PREFECT_SERVER_UI_API_URL=$(PREFECT_API_URL) $(BIN)/prefect server start --host $(HOST) --port $(PORT)

deploy: $(BIN)/.run  ## Register the work pool (POOL=process, docker, kubernetes) and all that runs on it
	@$(BIN)/python -m flows.registering $(POOL) $(GPUS)
	@test $(POOL) = process || $(BIN)/pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt prefect-$(POOL)
	@CYCLICAL_CHECKOUT=$(if $(filter process,$(POOL)),$(CURDIR),/cyclical) $(BIN)/prefect --no-prompt deploy --all

worker: $(BIN)/.run data  ## Run what is scheduled or triggered; CUDA_VISIBLE_DEVICES=N binds it to a GPU
	@$(BIN)/python -m flows.worker --pool gpu --limit 1

image:  ## Build what a docker or kubernetes work pool runs
	docker build --tag cyclical:latest --file deploy/Dockerfile .

clean:  ## Remove what can be made again, but no result
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "cyclical needs Python 3.11 to 3.13: make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 2; }

comma := ,
# TensorFlow finds a GPU only with CUDA's wheels.
CUDA := $(if $(wildcard /dev/nvidia0),gpu)

$(BIN)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.$(if $(CUDA),[gpu])'
	@touch $@

$(BIN)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev$(addprefix $(comma),$(CUDA))]'
	@touch $(BIN)/.run $@

$(BIN)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench$(addprefix $(comma),$(CUDA))]'
	@touch $(BIN)/.run $@
