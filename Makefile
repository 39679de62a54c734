# Everything runs from a virtual environment in .venv, which these targets make and keep current.
# Needs: Linux x86-64, Python 3.11+ with venv. No GPU, no root.

PYTHON ?= python3
UV_VERSION := 0.13.9
TORCH := torch==2.13.0+cpu
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
BIN := .venv/bin
READY := .venv/.ready
CLIENTS := .venv-clients

# Empty means unset to Python: where byte code is not written, every process compiles all of vLLM and torch.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo up test clients check lint fix bench lock generated clean

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(READY) ## the whole story, from data to a retrained adapter, in the terminal
	$(BIN)/switchyard demo

up: $(READY) ## the platform, left running, with the demo's tenants if the demo was run
	$(BIN)/switchyard up --demo

test: $(READY) $(CLIENTS)/.ready ## every test, real vLLM, PostgreSQL and training included
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder  # two at once; a file's tests share its engine

clients: $(CLIENTS)/.ready ## the environment of the clients that tests run: openai 2.x, LangChain, LiteLLM

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: lint test ## lint and test: what CI runs

fix: $(READY) ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## the benchmarks, as tables of ratios
	$(BIN)/python -m bench

generated: $(READY) ## rewrite what code writes: dashboards, alert rules, the admin API's description
	$(BIN)/switchyard dashboards write
	cp -R monitoring/generated/rules.yml monitoring/generated/dashboards helm/switchyard/monitoring/
	$(BIN)/python -m router.admin.document docs/admin-openapi.json
	$(BIN)/python -m router.description docs/openapi.json

# torch's CPU build is not on PyPI: pip is asked first (a mirror or a folder of wheels may be set up),
# then PyTorch's own index. With it in place, uv finds the rest, all of it at the lock's versions.
$(READY): requirements/all-cpu.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Switchyard needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Say which: make PYTHON=python3.12 …"; exit 1; }
	@[ "$$(uname -sm)" = "Linux x86_64" ] || \
	  { echo "The locked CPU wheels are for Linux x86-64; this is $$(uname -sm)."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: install it (Debian, Ubuntu: apt install python3-venv)."; exit 1; }
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null || \
	  { echo "vLLM's CPU build needs libnuma: install it (Debian, Ubuntu: apt install libnuma1; Fedora: dnf install numactl-libs)."; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps '$(TORCH)' || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --index-url $(TORCH_CPU_INDEX) '$(TORCH)'
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --no-deps --quiet -r requirements/all-cpu.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --no-deps --quiet -e .
	@touch $@

$(CLIENTS)/.ready: requirements/clients.lock $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(CLIENTS)
	VIRTUAL_ENV=$(CLIENTS) $(BIN)/uv pip install --no-deps --quiet -r requirements/clients.lock
	@touch $@

lock: $(READY) ## resolve the lock files anew
	$(BIN)/python requirements/lock.py

clean: ## remove the environment and what runs left behind
	rm -rf .venv $(CLIENTS) .switchyard
