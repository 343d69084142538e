# Two commands on a fresh machine: `make demo` and `make test`. Every target takes ARGS, for example
# `make demo ARGS=--once`; `make help` lists them.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
STAMP := $(VENV)/.installed
ARGS ?=

# The modules whose every branch a test must take: here a slip lets a wrong token through.
CRITICAL := */guestpass/core/*,*/guestpass/gate.py,*/guestpass/entries.py,*/guestpass/rotation.py

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format typecheck unit coverage bench fuzz docs clean system-packages

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# pip as Debian ships it knows no dependency groups, so it is upgraded first; the stamp makes all of this
# happen again only when pyproject.toml changes.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "guestpass needs Python 3.11 or later" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[server,redis,metrics,tracing]" --group dev
	@touch $@

system-packages: ## Install the programs that tests start, where that is allowed.
	@bash scripts/system-packages

demo: $(STAMP) ## Run the whole thing on loopback, fake vendor included.
	$(BIN)/guestpass demo $(ARGS)

test: $(STAMP) system-packages ## Check everything once: style, types, tests, coverage.
	$(MAKE) --no-print-directory lint typecheck coverage

lint: $(STAMP) ## Check style and formatting.
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(STAMP) ## Format, and mend what can be mended.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

typecheck: $(STAMP) ## Check types.
	$(BIN)/mypy

unit: $(STAMP) ## Run the tests alone, for example ARGS="tests/unit -k claims".
	$(BIN)/python -m pytest $(ARGS)

# The second report is the gate. Tests start servers, fleets and browsers and wait for them in real time: so four
# files run at once, even on two cores, and a test that fails gets a second and a third try. What is wrong fails
# three times, and each try is counted in the summary. In their order: else files of few, long tests come last.
coverage: $(STAMP) ## Run the tests and measure their coverage.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 4 --dist loadfile --no-loadscope-reorder --reruns 2 --reruns-delay 2 $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage report --include="$(CRITICAL)" --fail-under=100

bench: $(STAMP) ## Run the benchmarks.
	@set -e; for file in benchmarks/[!_]*.py; do echo "== $$file"; $(BIN)/python "$$file" $(ARGS); done

# By coverage where atheris is installed (it has no wheel for every Python), and by hypothesis in any case.
fuzz: $(STAMP) ## Fuzz the parsers, and run the property tests with many more examples.
	@if $(BIN)/python -c "import atheris" 2>/dev/null; then $(BIN)/python tests/fuzz.py; \
	else echo "atheris is not installed (pip install atheris): hypothesis alone looks"; fi
	$(BIN)/python -m pytest -n 4 --dist load --hypothesis-profile=fuzz tests/unit $(ARGS)

docs: $(STAMP) ## Write the generated parts of docs/ again.
	$(BIN)/guestpass check-config --reference > docs/settings.md
	$(BIN)/guestpass metrics > docs/metrics.md

clean: ## Remove everything that was made here.
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
