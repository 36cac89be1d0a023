# What one does with Fitserve. `make` lists it.

PYTHON ?= python3
# A wheel index with PyTorch's CPU builds, where the default index has only builds for CUDA.
TORCH_INDEX ?=
PIP_ARGS ?=
PORT ?= 8000
DATA ?= ./fitserve-data
MEGABYTES ?= 1000
# More arguments for the command that a target runs: make test ARGS="-k history"
ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(PIP_ARGS)

.PHONY: help
help: ## list what there is (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(INSTALLED) ## install into .venv (PYTHON=python3.12, TORCH_INDEX=URL, PIP_ARGS=...)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Fitserve needs Python 3.11 or newer: make setup PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Installing into .venv; the first time takes a minute or more."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[service,compiled,dev]'
	@touch $@

.PHONY: demo
demo: $(INSTALLED) ## three fits by HTTP, on a service of their own
	@$(BIN)/fitserve demo $(ARGS)

.PHONY: serve
serve: $(INSTALLED) ## start the service (PORT=8000 DATA=./fitserve-data)
	@$(BIN)/fitserve serve --port $(PORT) --data-dir $(DATA) $(ARGS)

.PHONY: test
test: $(INSTALLED) ## run the tests (ARGS="-k history")
	@$(BIN)/pytest $(ARGS)

.PHONY: test-all
test-all: $(INSTALLED) ## run the tests, and all combinations that `test` leaves out
	@$(BIN)/pytest -m "exhaustive or not exhaustive" $(ARGS)

.PHONY: coverage
coverage: $(INSTALLED) ## run the tests and show which lines and branches they miss
	@$(BIN)/pytest --cov $(ARGS)

.PHONY: check
check: $(INSTALLED) ## format, lint, types, who imports whom
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(INSTALLED) ## format the code and mend what the linter can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: bench
bench: $(INSTALLED) ## measure, side by side with plain PyTorch
	@$(BIN)/python -m benchmarks $(ARGS)
	@$(BIN)/python -m benchmarks.start

.PHONY: bench-all
bench-all: $(INSTALLED) ## the same and H2O-3 (Java), recording, memory, many jobs, a CSV of 1 GB (MEGABYTES=1000), more data than memory
	@$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[peers]'
	@$(BIN)/python -m benchmarks --h2o
	@$(BIN)/python -m benchmarks.recording
	@$(BIN)/python -m benchmarks.memory
	@$(BIN)/python -m benchmarks.many_jobs
	@$(BIN)/python -m benchmarks.intake $(MEGABYTES)
	@$(BIN)/python -m benchmarks.beyond_memory

.PHONY: bench-gpu
bench-gpu: $(INSTALLED) ## measure on a GPU
	@$(BIN)/python -m benchmarks.gpu

.PHONY: chaos
chaos: $(INSTALLED) ## jobs while everything is killed, on SQLite and Postgres (ARGS="--jobs 200 --seed 1")
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: docs
docs: $(INSTALLED) ## write the references: openapi.md, openapi.json, docs/forward.md, docs/reference/settings.md
	@$(BIN)/fitserve reference > openapi.md.new && mv openapi.md.new openapi.md
	@$(BIN)/fitserve openapi > openapi.json.new && mv openapi.json.new openapi.json
	@$(BIN)/python -m service.architectures.text.reference > docs/forward.md.new && mv docs/forward.md.new docs/forward.md
	@$(BIN)/python docs/settings.py > docs/reference/settings.md.new && mv docs/reference/settings.md.new docs/reference/settings.md

.PHONY: lock
lock: ## write constraints.txt anew, from the newest versions that pyproject.toml allows
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python $(PIP_INSTALL) --editable '.[service,compiled,dev]'
	@grep '^#' constraints.txt > constraints.txt.new
	@.venv-lock/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed -E 's/\+[a-z0-9.]+$$//' >> constraints.txt.new
	@mv constraints.txt.new constraints.txt && rm -rf .venv-lock

.PHONY: clean
clean: ## remove .venv, caches and builds; data stays
	rm -rf .venv .venv-lock build dist .coverage .coverage.* *.new
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
