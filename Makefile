# What a bare Python and make give is enough: everything else comes into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install

.PHONY: up down test check fmt unit contract integration e2e bench lock clean

up: .venv/.installed ## bring the whole stack up
	$(BIN)/spokectl up
	@echo "  (. .venv/bin/activate puts spokectl on your PATH)" >&2

down: .venv/.installed ## stop it; the data stays
	$(BIN)/spokectl down

test: .venv/.installed-dev ## every test that this machine can run
	$(BIN)/pytest

check: .venv/.installed-dev ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

unit contract integration e2e: .venv/.installed-dev
	$(BIN)/pytest tests/$@

bench: .venv/.installed-dev ## speed and memory, compared within one run
	$(BIN)/python -m benchmarks

lock: .venv/.installed-dev ## resolve the lock files anew
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra local --group pyproject.toml:build \
	  --generate-hashes --no-header --no-emit-index-url -o requirements.lock --upgrade
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra local --group pyproject.toml:build --group pyproject.toml:dev \
	  --constraint requirements.lock --generate-hashes --no-header --no-emit-index-url -o requirements-dev.lock --upgrade

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis artifacts

# The environment is made anew when the lock changes; an interrupted install is repeated, since the mark comes last.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "spokectl needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv

.venv/.installed: requirements.lock pyproject.toml | .venv/bin/pip
	@echo "installing into .venv: about 20 s the first time" >&2
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.installed-dev: requirements-dev.lock .venv/.installed
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
