# What a bare Python and make give is enough: everything else comes into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install

.PHONY: help up down test check fmt unit contract integration e2e bench drills engine browser jq images docs lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9 ]*:.*## / {printf "make %-32s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/.installed ## bring the whole stack up; ARGS="--port-offset 1000" and other options of spokectl up
	@$(BIN)/spokectl up $(ARGS); code=$$?; echo "  (. .venv/bin/activate puts spokectl on your PATH)" >&2; exit $$code

down: .venv/.installed ## stop it; the data stays
	$(BIN)/spokectl down

test: .venv/.installed-dev ## every test that this machine can run
	$(BIN)/pytest --numprocesses=2

check: .venv/.installed-dev ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: .venv/.installed-dev ## put format and imports right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

unit contract integration e2e: .venv/.installed-dev ## the tests of one kind
	$(BIN)/pytest tests/$@

bench: .venv/.installed-dev ## speed and memory, compared within one run
	$(BIN)/python -m benchmarks

drills: .venv/.installed-dev ## every drill, in each runtime that this machine has; ARGS="postgres-kill --repeat 20"
	$(BIN)/python -m benchmarks.drills --runtime local $(ARGS)
	@if docker info >/dev/null 2>&1; then set -x; $(BIN)/python -m benchmarks.drills --runtime docker $(ARGS); else \
	  echo "no Docker engine: the drills of the Docker runtime are not run" >&2; fi

engine: ## on Debian, as root: install a Docker engine and Compose, and start the engine
	stack/engine/install-on-debian.sh

browser: ## on Debian, as root: install Chromium, in which the page of a drill is tested
	tests/install-browser-on-debian.sh

jq: ## on Debian, as root: install jq, which the end-to-end scripts use
	tests/install-jq-on-debian.sh

images: ## build the images without an image registry: bases from Debian's archive, Go programs from their modules
	stack/images/local-bases.sh
	docker compose -f stack/ha-stack.yml build --quiet

docs: .venv/.installed-dev ## write the pages of docs/ anew that are made from commands, drills and types
	$(BIN)/python -m spokectl.cli.reference

lock: .venv/.installed-dev ## resolve the lock files anew
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra local --group pyproject.toml:build \
	  --generate-hashes --no-header --no-emit-index-url -o requirements.lock --upgrade
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra local --group pyproject.toml:build --group pyproject.toml:dev \
	  --constraint requirements.lock --generate-hashes --no-header --no-emit-index-url -o requirements-dev.lock --upgrade
	for image in spoke nginx; do \
	  $(BIN)/uv pip compile stack/images/$$image.in --python-version 3.13 --python-platform linux --constraint requirements.lock \
	    --generate-hashes --no-header --no-emit-index-url -o stack/images/$$image.lock --upgrade || exit 1; done

clean: ## remove the environment, caches and artifacts of tests
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis artifacts

# What pip says of a network that is not there is many lines and no advice.
OFFLINE := the packages could not be fetched: above is why. Where there is no internet, name an index or a folder that has them \
  (PIP_INDEX_URL, or PIP_NO_INDEX=1 with PIP_FIND_LINKS), and repeat the command

# The environment is made anew when the lock changes; an interrupted install is repeated, since the mark comes last.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "spokectl needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv

.venv/.installed: requirements.lock pyproject.toml | .venv/bin/pip
	@echo "installing into .venv: about 20 s the first time" >&2
	@$(PIP) --require-hashes -r requirements.lock || { echo "$(OFFLINE)" >&2; exit 1; }
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.installed-dev: requirements-dev.lock .venv/.installed
	@$(PIP) --require-hashes -r requirements-dev.lock || { echo "$(OFFLINE)" >&2; exit 1; }
	@touch $@
