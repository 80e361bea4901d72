# Each target sets up what it needs on a machine with Python 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SEEDS ?=

.PHONY: run twin test check bench sim sim-mutants sim-crash soak kill-test clean lock

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "aegis needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(VENV)/.ready  ## paper mode on the twin; more flags with ARGS="--speed max --for 6h"
	@$(BIN)/python -m aegis $(ARGS)

twin: $(VENV)/.ready  ## an exchange in a box on loopback
	@$(BIN)/python -m aegis twin $(ARGS)

SIMULATED := tests/simulation tests/scenarios

test: $(VENV)/.ready  ## the tests, simulations beside the others; ARGS="tests/unit" for some
ifeq ($(strip $(ARGS)),)
	@log=$$(mktemp); \
	$(BIN)/python -m pytest $(SIMULATED) >$$log 2>&1 & simulated=$$!; \
	$(BIN)/python -m pytest $(SIMULATED:%=--ignore=%); others=$$?; \
	wait $$simulated; failed=$$?; cat $$log; rm -f $$log; \
	test $$others -eq 0 && test $$failed -eq 0
else
	$(BIN)/python -m pytest $(ARGS)
endif

check: $(VENV)/.ready  ## types, lint, import contracts, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/tidy.py

bench: $(VENV)/.ready  ## speed as ratios, measured side by side
	@$(BIN)/python -m bench $(ARGS)

sim: $(VENV)/.ready  ## the whole bot under drawn faults, judged by the exchange's books; SEEDS=200, ARGS="--hours 6"
	@$(BIN)/python -m aegis sim $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

sim-crash: $(VENV)/.ready  ## kill the bot at every step of its scenarios, start it again, judge
	@$(BIN)/python -m aegis sim-crash $(ARGS)

sim-mutants: $(VENV)/.ready  ## planted bugs, each of which the simulation must find; ARGS="retry_buys_twice"
	@$(BIN)/python scripts/sim_mutants.py $(ARGS)

soak: $(VENV)/.ready  ## bot and twin as processes, a broken connection every 20 s; ARGS="--minutes 30"
	@$(BIN)/python -m soak $(ARGS)

kill-test: $(VENV)/.ready  ## kill -9 the bot at drawn and aimed moments, start it again; ARGS="--times 20"
	@$(BIN)/python -m soak kill $(ARGS)

lock:  ## pin the dependencies anew (hashes, no addresses)
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --extra dev --extra build \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header \
		--output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
