# `make help` lists the targets. Every target prepares the machine first; that takes no time when nothing is missing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

.PHONY: help ready demo ui demo-all up down status logs test check lint format bench profile bench-plots eval eval-insights answers tune screenshots faults redaction bad-input runbook-faults insight-faults compose-check

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

ready: ## install what is missing and build the environment from the lock file
	@deploy/bootstrap.sh

demo: ready ## the main job: services, workers, API, an incident, a question, a checked answer (UI=1: in Open WebUI)
	@$(PYTHON) -m deploy.demo $(if $(UI),--ui) $(ARGS)

ui: ## install Open WebUI and a browser, for `make demo UI=1`, the browser test and the screenshots
	@deploy/bootstrap.sh --browser
	@$(PYTHON) -m deploy.webui install

screenshots: ui ## pictures of answers in Open WebUI, from a real run, into deploy/
	@$(PYTHON) -m deploy.webui shoot $(ARGS)

demo-all: ready ## every kind of incident, three seeds each, through one running stack; prints the table
	@$(PYTHON) -m deploy.demo --all $(ARGS)

up: ready ## start Kafka, OpenSearch, Redis and the schema registry on free loopback ports
	@$(PYTHON) -m deploy.local up $(ARGS)

down: ready ## stop them; no process stays behind
	@$(PYTHON) -m deploy.local down $(ARGS)

status: ready ## say what runs, where, and with how much memory
	@$(PYTHON) -m deploy.local status $(ARGS)

logs: ready ## print the end of the services' logs
	@$(PYTHON) -m deploy.local logs $(ARGS)

test: ready ## all tests, on real services that the run starts itself
	@$(PYTHON) -m pytest $(ARGS)

check: lint ## lint, types, imports and unit tests; needs no service
	@$(PYTHON) -m pytest -q tests/unit $(ARGS)

lint: ready ## format, lint, types, imports
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --config pyproject.toml

format: ready ## format the code and mend what the linter can mend
	@.venv/bin/ruff check --fix --quiet .
	@.venv/bin/ruff format --quiet .

bench: ready ## measure both sides in one run, with guards (NAME=burst|cache|consumer|door|embedding|formats|freshness|gateway|growth|load|rate|replay|retrieval|runbooks|spark|startup|templates|workers)
	@$(PYTHON) -m tests.benchmarks $(NAME) $(ARGS)

profile: ready ## where a worker's time goes under load: a table, and a flame graph in .bench/
	@$(PYTHON) -m tests.benchmarks.profile $(ARGS)

bench-plots: ready ## draw the last benchmarks, from .bench/ into deploy/plots/
	@$(PYTHON) -m tests.benchmarks.plots $(ARGS)

eval: ready ## ask the questions of labelled sets, score the evidence, BM25 and vectors beside it (SET=folder,name FULL=1)
	@$(PYTHON) -m tests.evaluation $(SET) $(if $(FULL),--full) $(ARGS)

eval-insights: ready ## what is told as incidents, beside simple peers (NAME=shop|must-gather|nab|points|petshop|nezha, SET=folder)
	@$(PYTHON) -m tests.evaluation.insights $(NAME) $(SET) $(ARGS)

tune: ready ## find the weights of ranking by cross-validation over labelled sets (SET=folder,name FULL=1)
	@$(PYTHON) -m tests.evaluation.tune $(SET) $(if $(FULL),--full) $(ARGS)

answers: ready ## try to make answers lie, leak or break (NAME=corrupted|injection|isolation|requests|disconnects, FULL=1)
	@$(PYTHON) -m tests.answers $(NAME) $(if $(FULL),--full) $(ARGS)

faults: ready ## kill, cut and freeze real services and workers, then account for every record (FULL=1: the long run)
	@$(PYTHON) -m tests.faults $(if $(FULL),--full) $(ARGS)

runbook-faults: ready ## thousands of runbook edits with kills and replays: nothing goes back, nothing returns
	@$(PYTHON) -m tests.faults.runbooks $(ARGS)

insight-faults: ready ## kill workers while incidents happen: each told once, none missing (FULL=1: 200 of them, 50 kills)
	@$(PYTHON) -m tests.faults.insights $(if $(FULL),--full) $(ARGS)

redaction: ready ## recall and false hits of redaction, family by family, and its speed
	@$(PYTHON) -m tests.redaction $(ARGS)

bad-input: ready ## thousands of broken messages through the real pipeline: the right dead letter for each
	@$(PYTHON) -m tests.bad_input $(ARGS)

compose-check: ## check compose.yaml (needs the docker client, not an engine)
	@docker compose config --quiet && echo "compose.yaml is well-formed"
