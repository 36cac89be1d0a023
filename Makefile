# Development commands; `make` lists them.

PYTHON ?= python3
# A wheel index with PyTorch's CPU builds, where the default index has only builds for CUDA.
TORCH_INDEX ?=
PIP_ARGS ?=
PORT ?= 8000
DATA ?= ./fitserve-data
MEGABYTES ?= 1000
MINUTES ?= 15
# Further arguments of the command that a target runs: make test ARGS="-k history"
ARGS ?=

BIN := .venv/bin
# A few processes share the tests, file by file in their order: each has services of its own.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
INSTALLED := .venv/.installed
# Generators of clients have an environment of their own: their dependencies conflict with ours.
CLIENTS := .venv-clients/.installed
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(PIP_ARGS)

.PHONY: help
help: ## list the targets (default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(INSTALLED) $(CLIENTS) ## install into .venv (PYTHON=python3.12, TORCH_INDEX=URL, PIP_ARGS=...)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Fitserve needs Python 3.11 or newer: make setup PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Installing into .venv; the first time takes a minute or more."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[service,compiled,dev]'
	@touch $@

$(CLIENTS): tests/clients/requirements.txt tests/clients/constraints.txt tests/clients/package-lock.json
	@echo "Installing the generators of clients into .venv-clients and tests/clients/node_modules."
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python $(PIP_INSTALL) --constraint tests/clients/constraints.txt \
		--requirement tests/clients/requirements.txt
	@PATH="$(CURDIR)/.venv-clients/bin:$$PATH" npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: demo
demo: $(INSTALLED) ## run three fits over HTTP, on a temporary service
	@$(BIN)/fitserve demo $(ARGS)

.PHONY: serve
serve: $(INSTALLED) ## start the service (PORT=8000 DATA=./fitserve-data)
	@$(BIN)/fitserve serve --port $(PORT) --data-dir $(DATA) $(ARGS)

.PHONY: test
test: $(INSTALLED) $(CLIENTS) ## run the tests (ARGS="-k history")
	@$(BIN)/pytest $(PARALLEL) $(ARGS)

.PHONY: test-all
test-all: $(INSTALLED) $(CLIENTS) ## run the tests, including the exhaustive ones that `test` skips
	@$(BIN)/pytest $(PARALLEL) -m "exhaustive or not exhaustive" $(ARGS)

.PHONY: coverage
coverage: $(INSTALLED) $(CLIENTS) ## run the tests, and list the lines and branches that they miss
	@$(BIN)/pytest --cov $(ARGS)

.PHONY: check
check: $(INSTALLED) ## check format, lint rules, types and import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(INSTALLED) ## format the code, and apply the linter's fixes
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: bench
bench: $(INSTALLED) ## compare the speed with plain PyTorch; measure start and memory
	@$(BIN)/python -m benchmarks $(ARGS)
	@$(BIN)/python -m benchmarks.start

.PHONY: bench-all
bench-all: $(INSTALLED) ## run all benchmarks: also H2O-3 (needs Java), recording, memory, many jobs, several processes, large data (MEGABYTES=1000)
	@$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[peers]'
	@$(BIN)/python -m benchmarks --h2o
	@$(BIN)/python -m benchmarks.recording
	@$(BIN)/python -m benchmarks.memory
	@$(BIN)/python -m benchmarks.many_jobs
	@$(BIN)/python -m benchmarks.classes
	@$(BIN)/python -m benchmarks.parallel
	@$(BIN)/python -m benchmarks.intake $(MEGABYTES)
	@$(BIN)/python -m benchmarks.beyond_memory

.PHONY: bench-engines
bench-engines: $(INSTALLED) ## compare the engines on typical trainings (ARGS="LSTM digits" for some)
	@$(BIN)/python -m benchmarks.engines $(ARGS)

.PHONY: bench-gpu
bench-gpu: $(INSTALLED) ## run the benchmarks of a GPU
	@$(BIN)/python -m benchmarks.gpu

.PHONY: chaos
chaos: $(INSTALLED) ## run jobs while processes are killed, on SQLite and Postgres (ARGS="--jobs 200 --seed 1")
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: attack
attack: $(INSTALLED) ## attack a service, and measure what another client waits (ARGS="header layers" for some attacks)
	@$(BIN)/python -m tests.attack $(ARGS)

.PHONY: soak
soak: $(INSTALLED) ## run mixed load, and check that memory, open files and disk are level (MINUTES=15)
	@$(BIN)/python -m tests.soak $(MINUTES)

.PHONY: docs
docs: $(INSTALLED) ## generate the references: openapi.md, openapi.json, docs/forward.md, docs/reference/
	@$(BIN)/fitserve reference > openapi.md.new && mv openapi.md.new openapi.md
	@$(BIN)/fitserve openapi > openapi.json.new && mv openapi.json.new openapi.json
	@$(BIN)/python -m service.architectures.text.reference > docs/forward.md.new && mv docs/forward.md.new docs/forward.md
	@$(BIN)/python -m service.architectures.text.class_reference > docs/reference/classes.md.new && mv docs/reference/classes.md.new docs/reference/classes.md
	@$(BIN)/python docs/settings.py > docs/reference/settings.md.new && mv docs/reference/settings.md.new docs/reference/settings.md

.PHONY: lock
lock: ## regenerate constraints.txt from the newest versions that pyproject.toml allows
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python $(PIP_INSTALL) --editable '.[service,compiled,dev]'
	@grep '^#' constraints.txt > constraints.txt.new
	@.venv-lock/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed -E 's/\+[a-z0-9.]+$$//' >> constraints.txt.new
	@mv constraints.txt.new constraints.txt && rm -rf .venv-lock

.PHONY: clean
clean: ## remove .venv, caches and builds; keep data
	rm -rf .venv .venv-clients .venv-lock tests/clients/node_modules build dist .coverage .coverage.* *.new
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
