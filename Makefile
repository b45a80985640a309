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

# A file's tests stay together: they share what they have made.
PARALLEL := --numprocesses=auto --dist=loadfile

.PHONY: help demo test test-rest test-fast test-all bench container browser sample docs pictures clean dev lint typecheck

help:  ## show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: $(UV)  ## render a service, install it, start it, predict (ARGS=--refused: without a network)
	@$(RUN) python tests/demo.py $(ARGS)

test: $(UV)  ## render every pair of answers and prove that it works; what it leaves out is in test-rest
ifeq ($(ARGS),)
	@$(RUN) pytest -m "not thorough" $(PARALLEL)
	@echo 'make test left to make test-rest: clusters, clients of each protocol, other libraries, load, broken guards.'
else
	@$(RUN) pytest $(ARGS)
endif

test-rest: $(UV)  ## what `make test` leaves out: clients, libraries, load, clusters, broken guards
	@$(RUN) pytest -m "thorough and not alone" --ignore=tests/mutation $(PARALLEL)
	@$(RUN) pytest -m alone
	@$(RUN) pytest -m thorough tests/mutation --numprocesses=auto

test-fast: $(UV)  ## the tests that need no environment of a rendered project
	@$(RUN) pytest -m "not slow" $(PARALLEL) $(ARGS)

test-all: $(UV)  ## both, with every combination of the answers instead of every pair
	@ALL_COMBINATIONS=1 $(MAKE) test test-rest

bench: $(UV)  ## measure a rendered service beside others (ARGS=--peers: model servers too)
	@$(RUN) --group bench python benchmarks/run.py $(ARGS)

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

typecheck: $(UV)  ## types of the engine and of an owner's code
	@$(RUN) python -m tests.dev typecheck $(ARGS)

clean:  ## remove what these commands made
	rm -rf .tools .venv .dev uv.lock .pytest_cache site

$(UV):
	@$(PYTHON) -m venv .tools
	@.tools/$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.13"
