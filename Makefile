# `make` lists the targets. Each does its own set-up on its first run: a machine needs Python 3.11+ and make, no more.
# What is said about set-up goes to stderr: `make demo ARGS=--json` prints JSON and nothing else on stdout.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench fuzz soak dashboards pictures format setup servers clean
MAKEFLAGS += --no-print-directory --no-builtin-rules

# Paths are relative throughout, for make cannot handle a folder with a space in its name.
BIN := .venv/bin
UV := $(or $(shell command -v uv 2>/dev/null),.cache/uv/bin/uv)
# The first Python that is new enough; looked for only when there is something to set up.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$name"; break; }; done)
SHELL_SCRIPTS := .ci/run $(wildcard tests/*/*.sh compose/*.sh)
YAML_FILES := otel-collector.yaml docker-compose.yaml $(wildcard compose/*.yml) $(wildcard dashboards/*.yml dashboards/provisioning/*/*.yaml tests/*/*.yaml)

# uv takes the Python that is here, and makes no environment but ours.
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
# Compiled once, not by every process that the demo and the tests start, where the machine forbids Python to write bytecode.
export UV_COMPILE_BYTECODE := 1
# uv, and the npm that fetches pyright, trust whom this machine trusts, as pip does: a company's own authority, for one.
CERTIFICATES := $(wildcard /etc/ssl/certs/ca-certificates.crt)
ifdef CERTIFICATES
export UV_SYSTEM_CERTS := true
export NODE_EXTRA_CA_CERTS ?= $(CERTIFICATES)
endif
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH

say = echo "· $(1)" >&2

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: .venv/.ready-for-demo ## real SDK calls become priced ledger entries (flags: ARGS='--seconds 20 --json')
	@$(BIN)/spanledger demo $(ARGS)

test: .venv/.ready .cache/peers/.ready servers ## all tests in parallel, or what you choose (ARGS='-k pricing')
	@$(BIN)/python -m pytest $(or $(ARGS),-q -n auto --dist loadgroup)

check: .venv/.ready $(UV) ## lint, formatting, types, shell and YAML syntax, lock file
	@$(call say,lock file)
	@$(UV) lock --check --quiet
	@$(call say,lint and formatting)
	@$(BIN)/ruff check --quiet --output-format concise
	@$(BIN)/ruff format --check --quiet
	@$(call say,shell and YAML syntax)
	@for file in $(SHELL_SCRIPTS); do sh -n "$$file" || exit; done
	@$(BIN)/python -c 'import sys, yaml; [yaml.safe_load(open(name, "rb")) for name in sys.argv[1:]]' $(YAML_FILES)
	@$(call say,types)
	@$(BIN)/pyright

bench: .venv/.ready .cache/peers/.ready ## run every benchmark in bench/; the ledger of ten million entries takes half an hour
	@status=0; for file in bench/*.py; do \
		echo "== $$file"; $(BIN)/python "$$file" $(ARGS) || status=1; done; exit $$status

fuzz: .venv/.ready ## fuzz every target for a minute, then each client with 2000 random exchanges (ARGS='bodies --seconds 600')
	@$(BIN)/python -m tests.fuzz $(or $(ARGS),all --seconds 60)
	@$(if $(ARGS),,FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest -q -n auto --timeout 3600 tests/instrumentation/fuzz)

soak: .venv/.ready servers ## kill exporters at random for 10 minutes, or as long as you say (ARGS='60 --seed 5')
	@$(BIN)/python -m tests.faults.soak $(ARGS)

dashboards: .venv/.ready ## write dashboards/grafana anew from the code in dashboards/boards
	@$(BIN)/python -m dashboards.boards

pictures: .venv/.ready servers ## draw docs/pictures anew from the dashboards' own queries (wants Chromium)
	@$(BIN)/python -m dashboards.pictures

format: .venv/.ready ## format the code, and fix what the linter can
	@$(BIN)/ruff check --quiet --fix
	@$(BIN)/ruff format

setup: .venv/.ready .cache/peers/.ready servers ## what `make test` needs, without running it

servers:
	@tests/servers/prepare.sh $(if $(ARGS),,--build)

clean: ## remove the environment and all that was made here
	@rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis .coverage*

# -- the environment: made anew only when the lock file or the project's own declarations change ------------------------

define sync
	@$(call say,installing $(1) from uv.lock into .venv (once))
	@$(UV) sync --locked --quiet $(if $(wildcard $(BIN)/python),,$(if $(PYTHON),--python "$(PYTHON)")) $(2)
endef

# Everything that developing takes; the demo needs less, and takes what is there.
.venv/.ready: uv.lock pyproject.toml | $(UV)
	$(call sync,the development environment,--inexact)
	@touch $@ .venv/.ready-for-demo

.venv/.ready-for-demo: uv.lock pyproject.toml | $(UV)
	$(call sync,the demo,--inexact --no-dev --extra demo)
	@touch $@

# The instrumentations that ours is tested beside, in an environment that they have to themselves. Should it fail, offline for
# one, the tests that want it are skipped; CI lets nothing be skipped.
.cache/peers/.ready: uv.lock pyproject.toml | $(UV)
	@$(call say,installing the other instrumentations from uv.lock into .cache/peers (once))
	@UV_PROJECT_ENVIRONMENT=.cache/peers $(UV) sync --locked --quiet --only-group peers \
		$(if $(wildcard .cache/peers/bin/python),,$(if $(PYTHON),--python "$(PYTHON)")) && touch $@ \
		|| { rm -f $@; $(call say,that failed: the tests beside them are skipped); }

# uv from PyPI, in a folder of its own, for those who do not have it: by venv, or by pip where Debian has split venv off.
.cache/uv/bin/uv:
	@test -n "$(PYTHON)" || { echo "Spanledger needs Python 3.11 or newer, and none is on PATH" >&2; exit 1; }
	@$(call say,installing uv from PyPI into .cache/uv (once))
	@mkdir -p .cache
	@{ "$(PYTHON)" -m venv .cache/uv && .cache/uv/bin/python -m pip install $(PIP_FLAGS) uv; } >.cache/uv.log 2>&1 \
		|| { rm -rf .cache/uv; "$(PYTHON)" -m pip install $(PIP_FLAGS) --target .cache/uv uv; } >>.cache/uv.log 2>&1 \
		|| { cat .cache/uv.log >&2; exit 1; }
PIP_FLAGS := --quiet --disable-pip-version-check --no-input
