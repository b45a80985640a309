# Needs Python 3.11+, git and make; everything else is fetched into .tools and .venv.
PYTHON ?= python3
ARGS ?=

ifeq ($(OS),Windows_NT)
BIN := Scripts
PYTHON := python
else
BIN := bin
endif

UV := .tools/$(BIN)/uv
# The interpreter is the one above: uv would otherwise look for its own.
RUN := UV_PYTHON_DOWNLOADS=never PATH="$(CURDIR)/.tools/$(BIN):$$PATH" $(UV) run --quiet --python "$(PYTHON)"

# A file's tests stay together: they share what they have made. Files begin in the order in which they
# are collected, the slow ones first.
PARALLEL := --numprocesses=auto --dist=loadfile --no-loadscope-reorder

.PHONY: help demo test test-rest test-clients test-alone test-guards test-fast test-all bench bench-guard container browser sample docs pictures dev lint typecheck clean

# Tests that watch the clock must have the machine for themselves.
.NOTPARALLEL:

help:  ## show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: $(UV)  ## render a service, install it, start it, predict (ARGS=--refused: without a network)
	@$(RUN) python tests/demo.py $(ARGS)

test: $(UV)  ## render every pair of answers and prove that it works; what it leaves out is in test-rest
ifeq ($(ARGS),)
	@$(RUN) pytest -m "not thorough" $(PARALLEL) --budget=480
	@echo 'make test left to make test-rest: clients of each protocol, own models, other demos, load,'
	@echo 'clusters, broken guards. make test-all runs both, with every combination of the answers.'
else
	@$(RUN) pytest $(ARGS)
endif

test-rest: test-clients test-alone test-guards  ## what `make test` leaves out, one after the other

test-clients: $(UV)  ## clients of each protocol, other libraries, owners' models and edits
	@$(RUN) pytest -m "thorough and not alone" --ignore=tests/mutation $(PARALLEL) --budget=900

test-alone: $(UV)  ## load, workers, rolling updates, clusters: nothing else runs meanwhile
	@$(RUN) pytest -m alone --budget=600

test-guards: $(UV)  ## guards of the generated project, broken one at a time
	@$(RUN) pytest -m thorough tests/mutation --numprocesses=auto --budget=600

test-fast: $(UV)  ## the tests that need no environment of a rendered project
ifeq ($(ARGS),)
	@$(RUN) pytest -m "not slow" $(PARALLEL) --budget=60
	@echo 'make test-fast left to make test: every pair of answers served, upgrades, odd consoles, the engine.'
else
	@$(RUN) pytest -m "not slow" $(PARALLEL) $(ARGS)
endif

test-all: $(UV)  ## all of it, with every combination of the answers instead of every pair
	@ALL_COMBINATIONS=1 $(MAKE) test test-rest

bench: $(UV)  ## measure a rendered service beside others (ARGS=--peers: model servers too)
	@$(RUN) --group bench python benchmarks/run.py $(ARGS)

bench-guard: $(UV)  ## fail where what is checked out is slower than a commit (ARGS='--against COMMIT')
	@$(RUN) --group bench python benchmarks/guard.py $(ARGS)

container: $(UV)  ## build the generated image and run it: no network, no rights, nothing to write to
	@$(RUN) python tests/container/check.py $(ARGS)

browser: $(UV)  ## try the page of a generated service in Chromium, which must be installed
	@$(RUN) --group browser pytest tests/browser/pages.py --numprocesses=0 $(ARGS)

sample: $(UV)  ## fit the sample models again and package them
	@$(RUN) python samples/package.py $(ARGS)

docs: $(UV)  ## build the documentation site into site/, strictly (ARGS=--serve: serve it too)
	@$(RUN) python -m docs.site $(ARGS)

pictures: $(UV)  ## take the pictures of page and terminal, in Chromium and bash; port 8000 must be free
	@$(RUN) --group browser pytest tests/browser/pictures.py --numprocesses=0 $(ARGS)
	@$(RUN) python -m tests.terminal_picture

dev: $(UV)  ## render a project, watch the template, check each change (ARGS=--serve: and serve it)
	@$(RUN) python -m tests.dev watch $(ARGS)

lint: $(UV)  ## linter and formatter on the template, the engine and an owner's code (ARGS=--fix: mend)
	@$(RUN) python -m tests.dev lint $(ARGS)

typecheck: $(UV)  ## types of the engine, for every system, and of an owner's code
	@$(RUN) python -m tests.dev typecheck $(ARGS)

clean:  ## remove what these commands made
	rm -rf .tools .venv .dev uv.lock .pytest_cache site
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/cookiecutter-model-serving-tests/$(subst :,-,$(subst /,-,$(CURDIR)))"

$(UV):
	@$(PYTHON) -m venv .tools
	@.tools/$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.13"
