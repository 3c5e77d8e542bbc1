# Everything a user or a contributor runs.  Needs Python 3.11+ and make; the rest comes by `make install`.

PYTHON   ?= python3
DATA_DIR ?= .grab
OPENS_IN ?= 60
CAMPAIGN ?= campaigns/qijiang-2023.toml
MINUTES  ?= 10
USES     ?= 20000
SEED     ?=
EXAMPLES ?= 300
PEOPLE   ?= 1500
SCALE    ?= 10
SLO      ?= loadtest/slo.toml
ARGS     ?=

PEERS          := artefacts/peers
NODE_PACKAGES  := fastify@5.12.8 ioredis@5.11.1
NGINX_PACKAGES := nginx-light libnginx-mod-http-lua lua-nginx-redis

BIN       := .venv/bin
INSTALLED := .venv/.installed
COMPILE   := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
             --no-emit-index-url --no-emit-find-links --no-annotate --no-header
EXTRAS    := --extra embedded

.DEFAULT_GOAL := help
.PHONY: help install run storm rehearse chaos bench bench-growth bench-redemptions bench-settlement test browser fuzz campaign mutants check lint types imports locks format lock wheel clean clean-data

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with the pinned, hash-checked dependencies

$(INSTALLED): requirements/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# On a terminal the service gets a process group of its own, so that Ctrl-C stops the service and does not interrupt make.
run: $(INSTALLED) ## Rehearse the real campaign on this machine; opens in OPENS_IN seconds (60), Ctrl-C ends it
	@set -- $(BIN)/grab up --campaign $(CAMPAIGN) --opens-in $(OPENS_IN) --data-dir $(DATA_DIR) $(ARGS); \
	if [ -t 0 ]; then set -m; "$$@"; else exec "$$@"; fi

storm: $(INSTALLED) ## Storm the running rehearsal, then audit it; ARGS="--help" shows what can be varied
	$(BIN)/python -m loadtest.storm --data-dir $(DATA_DIR) $(ARGS)

rehearse: $(INSTALLED) ## Rehearse a launch from nothing with PEOPLE (1500) of every kind, and leave artefacts/rehearsal/report.html
	$(BIN)/python -m loadtest.rehearse --people $(PEOPLE) --scale $(SCALE) --slo $(SLO) $(ARGS)

bench: $(INSTALLED) ## Measure the service and its peers in turn; ARGS="--help" shows what can be varied
	$(BIN)/python -m loadtest.bench $(ARGS)

.PHONY: bench-peers
bench-peers: ## Install what the peers of the bench need and npm has; tell what else is missing
	@if command -v npm >/dev/null; then \
	    npm install --silent --no-audit --no-fund --no-package-lock --prefix $(PEERS) $(NODE_PACKAGES); \
	else echo "npm is not installed: no Fastify peer"; fi
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || echo "nginx is not installed: apt-get install $(NGINX_PACKAGES)"
	@ls /usr/lib/nginx/modules/ngx_http_lua_module.so >/dev/null 2>&1 || echo "nginx has no Lua module: apt-get install $(NGINX_PACKAGES)"

bench-growth: $(INSTALLED) ## Measure cost, memory and recovery against the number of holders, and plot them
	$(BIN)/python -m loadtest.bench.growth $(ARGS)

bench-redemptions: $(INSTALLED) ## Measure how many vouchers the tills can use in a second over HTTP
	$(BIN)/python -m loadtest.bench.redemptions $(ARGS)

bench-settlement: $(INSTALLED) ## Measure a settlement of 25,400 vouchers over 2,000 merchants
	$(BIN)/python -m loadtest.bench.settlement $(ARGS)

test: $(INSTALLED) ## Run the whole suite against real servers; ARGS="tests/lua -x" narrows it
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 4 --ignore tests/browser $(ARGS)

browser: $(INSTALLED) ## Use the pages with a real Chromium, and leave screenshots in artefacts/screenshots
	$(BIN)/pytest -n 2 tests/browser $(ARGS)

fuzz: $(INSTALLED) ## Make up EXAMPLES (300) requests an operation and kind of caller, and malformed ones by hand
	GRAB_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -n 0 tests/fuzz $(ARGS)

chaos: $(INSTALLED) ## Sell rounds for MINUTES (10) while every part is killed, then prove it; SEED= repeats a schedule
	$(BIN)/python -m loadtest.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

campaign: $(INSTALLED) ## Play the real campaign with USES (20000) redemptions, to the last fen; SEED= varies it
	CAMPAIGN_USES=$(USES) $(if $(SEED),CAMPAIGN_SEED=$(SEED)) $(BIN)/pytest -n 0 --log-cli-level=INFO tests/flow/test_whole_campaign.py $(ARGS)

mutants: $(INSTALLED) ## Take away one guard after the other and see that a test fails; ARGS="--only fence" narrows it
	$(BIN)/python -m tests.mutants.run $(ARGS)

check: lint types imports locks sbom audit-when-reachable test ## Everything CI checks: lint, types, import rules, lock files, weaknesses, tests

.PHONY: audit audit-when-reachable release
audit: $(INSTALLED) ## Look for published weaknesses of the pinned dependencies; needs the package index
	$(BIN)/python tools/audit_dependencies.py

audit-when-reachable: $(INSTALLED)
	@$(BIN)/python tools/audit_dependencies.py --when-reachable

release: check fuzz wheel ## Check, fuzz, and leave wheel, sbom.json and SHA256SUMS in dist/
	cd dist && sha256sum *.whl sbom.json > SHA256SUMS && cat SHA256SUMS

lint: $(INSTALLED) ## Check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED) ## Check types, strictly
	$(BIN)/mypy

imports: $(INSTALLED) ## Check who may import whom
	$(BIN)/lint-imports

locks: ## Check that the lock files name no place to download from
	@! grep -nE '://|^ *-(-index-url|-extra-index-url|-find-links|i|f)' requirements/*.lock

format: $(INSTALLED) ## Format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(INSTALLED) ## Resolve the dependencies anew into requirements/*.lock
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) $(EXTRAS) pyproject.toml --output-file requirements/run.lock
	$(COMPILE) $(EXTRAS) --extra otel pyproject.toml --constraints requirements/run.lock --output-file requirements/otel.lock
	$(COMPILE) $(EXTRAS) --extra otel pyproject.toml requirements/dev.in --constraints requirements/otel.lock --output-file requirements/dev.lock
	$(COMPILE) requirements/build.in --constraints requirements/dev.lock --output-file requirements/build.lock

wheel: $(INSTALLED) ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

.PHONY: api-docs
api-docs: $(INSTALLED) ## Write docs/api.md and docs/api.zh-CN.md anew, after a change of a route or of an error
	$(BIN)/python tools/api_docs.py

.PHONY: image-replay
image-replay: $(INSTALLED) ## Replay the Dockerfile in a clean Debian without a container engine, and try the image; needs root
	$(BIN)/python tools/replay_image.py $(ARGS)

.PHONY: sbom
sbom: $(INSTALLED) ## List what the service is made of, with hashes, as a CycloneDX document in dist/sbom.json
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements/run.lock --pyproject pyproject.toml --mc-type application \
	    --output-reproducible --output-file dist/sbom.json

clean: ## Remove what can be made again: .venv, caches, builds; what was measured stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: clean-artefacts
clean-artefacts: ## Remove reports, figures, screenshots and the peers of the bench
	rm -rf artefacts

clean-data: ## Remove the rehearsal's data, unless it is running
	@for pid in $$(cat $(DATA_DIR)/run/*.pid 2>/dev/null); do \
	    if kill -0 $$pid 2>/dev/null; then echo "process $$pid of $(DATA_DIR) is running: end it first" >&2; exit 1; fi; \
	done
	rm -rf $(DATA_DIR)
