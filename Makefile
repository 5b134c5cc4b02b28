# The same commands that CI runs. `make` alone lists them.
#
# PYTHON=python3.13 uses that interpreter, in an environment of its own (.venv-3.13).

PYTHON ?= python3
SUFFIX := $(patsubst -3,,$(patsubst %,-%,$(patsubst python%,%,$(notdir $(PYTHON)))))
VENV   := .venv$(SUFFIX)
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)

NATIVE  := $(shell find crates -type f \( -name '*.rs' -o -name Cargo.toml \)) Cargo.toml Cargo.lock pyproject.toml
PACKAGES := $(VENV)/.packages
BUILT    := $(VENV)/.built
STEPPER  := target/release/underpass-stepper
PLANTED  := target/planted$(SUFFIX)/_core.so

# PyO3 reads which interpreter it builds for; its crate is an extension module, so it has no test program to link.
export PYO3_PYTHON := $(abspath $(BIN)/python)
CARGO_TEST := cargo test --quiet --no-fail-fast --workspace --exclude underpass-py
LOOM       := RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --quiet --release -p underpass-core --test loom

# Tests run side by side, a file in one process: as many as there are processors, but no more than four, since most tests start processes of their own.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile

# Arguments for the program that a target runs: make test ARGS="-k queue -x", make demo ARGS="--seed 7".
ARGS ?=

say = @printf '\033[1m%s\033[0m\n' "▸ $(1)"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build demo test check bench loom deep deaths docs lock clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do printf '  make %-7s %s\n' "$$name" "$$what"; done

# An environment whose interpreter was removed is made again.
ifneq ($(wildcard $(PACKAGES)),)
ifneq ($(shell test -x $(BIN)/python && echo runs),runs)
$(shell rm -f $(PACKAGES))
endif
endif

$(PACKAGES): requirements-dev.lock tools/preflight
	@tools/preflight $(PYTHON)
ifneq ($(UV),)
	$(call say,environment $(VENV) with uv ($(PYTHON)))
	@test -x $(BIN)/python || { rm -rf $(VENV); uv venv --quiet --no-python-downloads --python $(PYTHON) $(VENV); }
	$(call say,packages of requirements-dev.lock)
	@uv pip install --quiet --python $(BIN)/python -r requirements-dev.lock
else
	$(call say,environment $(VENV) ($(PYTHON)))
	@test -x $(BIN)/python -a -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(call say,packages of requirements-dev.lock: about half a minute)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
endif
	@touch $@

# Two makes at once take turns: maturin moves what cargo made.
$(BUILT): $(PACKAGES) $(NATIVE)
	@tools/preflight $(PYTHON)
	$(call say,native module for $(BIN)/python: about a minute the first time)
	@mkdir -p target
	@PIP_QUIET=1 VIRTUAL_ENV=$(abspath $(VENV)) PATH="$(abspath $(BIN)):$$PATH" \
		flock target/.build $(BIN)/maturin develop --quiet --release --locked --extras cli,lab,numpy \
		$(if $(wildcard $(BIN)/pip),,$(if $(UV),--uv))
	@touch $@

# What tests/crash/stepping needs: the stepper, and a module with faults that it has to find, built for speed of building.
$(STEPPER): $(NATIVE)
	@cargo build --quiet --release --locked -p underpass-stepper
	@touch $@

$(PLANTED): $(PACKAGES) $(NATIVE)
	$(call say,native module with planted faults)
	@CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
		cargo build --quiet --release --locked -p underpass-py --features planted --target-dir $(dir $@)build
	@cp $(dir $@)build/release/lib_core.so $@

build: $(BUILT) ## a release build with all extras, in .venv

demo: build ## index real text with workers, one of them killed, and prove that nothing was lost
	@$(BIN)/underpass demo $(ARGS)

test: build $(STEPPER) $(PLANTED) ## cargo test, then pytest
	$(call say,cargo test; then pytest on $(BIN)/python)
	@failed=0; $(CARGO_TEST) || failed=1; $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS) || failed=1; exit $$failed

check: build ## linters, types, stubs, formats, layers
	@BIN=$(BIN) tools/check

loom: $(PACKAGES) ## the core's objects under a model of the memory order: some 10 minutes
	$(call say,loom)
	@timeout 1500 env $(LOOM)

bench: build ## measure against C and the standard library
	@$(BIN)/underpass bench $(ARGS)

deep: build $(STEPPER) $(PLANTED) ## the long explorations: no bound
	$(call say,pytest -m deep)
	@$(BIN)/python -m pytest -m deep --timeout 0 -o faulthandler_timeout=0 $(ARGS) || test $$? -eq 5
	$(call say,loom without a bound)
	@$(LOOM)

deaths: build $(STEPPER) ## a death at every single instruction, where deep has one for all that are alike: hours
	@$(BIN)/python -m tests.crash.stepping --every --markdown $(ARGS)

docs: build ## the documentation, as pages in target/docs; warnings are errors
	$(call say,documentation)
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs target/docs
	@echo "target/docs/index.html"

lock: ## pin the newest allowed packages in requirements-dev.lock (needs uv)
	@command -v uv >/dev/null || { echo "underpass: no uv: pip install uv" >&2; exit 1; }
	@uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --group development \
		--custom-compile-command "make lock" --output-file requirements-dev.lock pyproject.toml

clean: ## remove what these commands made
	rm -rf .venv .venv-* target dist .pytest_cache .ruff_cache .mypy_cache
	rm -f python/underpass/_core*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
