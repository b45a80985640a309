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

.PHONY: help demo test test-fast test-all bench container browser sample clean

help:  ## show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: $(UV)  ## render a service, install it, start it, predict (ARGS=--refused: without a network)
	@$(RUN) python tests/demo.py $(ARGS)

test: $(UV)  ## render every pair of answers and prove that it works
ifeq ($(ARGS),)
	@$(RUN) pytest --ignore=tests/mutation
	@$(RUN) pytest tests/mutation --numprocesses=auto
else
	@$(RUN) pytest $(ARGS)
endif

test-fast: $(UV)  ## the tests that need no environment of a rendered project
	@$(RUN) pytest -m "not slow" $(ARGS)

test-all: $(UV)  ## all tests, with every combination of the answers instead of every pair
	@ALL_COMBINATIONS=1 $(MAKE) test

bench: $(UV)  ## measure a rendered service beside others (ARGS=--peers: model servers too)
	@$(RUN) --group bench python benchmarks/run.py $(ARGS)

container: $(UV)  ## build the generated image and run it: no network, no rights, nothing to write to
	@$(RUN) python tests/container/check.py $(ARGS)

browser: $(UV)  ## try the page of a generated service in Chromium, which must be installed
	@$(RUN) --group browser pytest tests/browser/pages.py --numprocesses=0 $(ARGS)

sample: $(UV)  ## fit the sample models again and package them
	@$(RUN) python samples/package.py $(ARGS)

clean:  ## remove what these commands made
	rm -rf .tools .venv uv.lock .pytest_cache

$(UV):
	@$(PYTHON) -m venv .tools
	@.tools/$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.13"
