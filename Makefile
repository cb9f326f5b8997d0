# These do everything on a machine with Python 3.11+, git and make:
#
#   make install  the environment alone, which everything else needs
#   make run      environment, stacks, the experiment `answer`, and the comparison
#   make claims   the same for what is said of Flask's concurrency: each claim confirmed, refuted or undecided
#   make test     every check and every test
#
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv

# Compiled once, and not anew by each of the thousand processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install run claims test quick beside unit check docs format schemas bench lock clean help

help: ## Show what there is to make
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

install: $(VENV)/.lab ## The environment alone

run: $(VENV)/.lab ## Run the experiment `answer` and print the comparison
	$(BIN)/invoke lab.run

claims: $(VENV)/.lab ## Test what is said of Flask's concurrency
	$(BIN)/invoke lab.claims

test: $(VENV)/.dev ## Every check and every test; 10 to 20 minutes on two cores
	# What computes goes beside what waits half of the time, and gives way to it.
	$(MAKE) --no-print-directory --jobs=3 quick beside NICE=nice
	# What holds a figure that a busy machine would spoil runs by itself.
	$(BIN)/pytest --durations=10 -m alone tests/contract tests/e2e

quick: $(VENV)/.dev
	$(MAKE) --no-print-directory --output-sync=target check unit

beside: $(VENV)/.dev
	LAB_SHARE_CORES=1 $(BIN)/pytest -n 3 --no-loadscope-reorder --timeout 600 --durations=10 -m "not alone" tests/contract tests/e2e

unit: $(VENV)/.dev ## The tests that need no server of the lab's, in some minutes
	# To rewrite asserts takes half of each process' start, so only what fails runs again with it, to show its values.
	$(NICE) $(BIN)/pytest -n 2 --timeout 600 --assert=plain --durations=10 tests/unit || { $(BIN)/pytest --last-failed tests/unit; exit 1; }

check: $(VENV)/.dev ## Format, lint, strict types, import order, links of the documentation
	$(NICE) $(BIN)/ruff format --check .
	$(NICE) $(BIN)/ruff check .
	$(NICE) $(BIN)/mypy
	$(NICE) $(BIN)/lint-imports
	$(NICE) $(BIN)/python -m docs.build --check

docs: $(VENV)/.dev ## The documentation as a site, in the folder site
	$(BIN)/python -m docs.build

format: $(VENV)/.dev ## Format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(VENV)/.lab ## Renew schemas/ and the pages of docs/ that follow from the code
	$(BIN)/python -m wsgilab.commands.schemas schemas
	$(BIN)/python -m docs.reference

bench: $(VENV)/.dev ## The lab measured against its peers (over an hour); needs nginx, wrk and a Docker engine
	# Minutes on two cores: 12 for recording, 5 for what is read from it, 8 for pairs, 6 for prediction, 8 for capacity, 6 for against, then 5, 25, 3, 3, 3, 1, 6;
	# and 4 for scale_out.
	for name in disturbed recording twins power calibration noise budget pairs prediction capacity against generator truth clients stamp neighbours scale \
		efficiency scale_out \
		document; do $(BIN)/python -m benchmarks.$$name || exit 1; done

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: wsgilab needs Python 3.11 or newer, not %d.%d; name one with make PYTHON=..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $(UV)

$(VENV)/.lab: $(UV) requirements/lab.txt requirements/invoke.pth
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/lab.txt
	# So that Ctrl-C while Invoke itself is being imported, when no task can handle it yet, ends it without a traceback.
	cp requirements/invoke.pth "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/wsgilab.pth"
	@touch $@

$(VENV)/.dev: $(VENV)/.lab requirements/dev.txt
	# The tests start Python hundreds of times.
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt
	@touch $@

COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--python $(BIN)/python --no-python-downloads --custom-compile-command "make lock" $(LOCKFLAGS)

lock: $(UV) ## Renew every lock; LOCKFLAGS=--upgrade for newer releases
	$(COMPILE) --python-version 3.11 requirements/uv.in -o requirements/uv.txt
	$(COMPILE) --python-version 3.11 pyproject.toml -o requirements/lab.txt
	$(COMPILE) --python-version 3.11 pyproject.toml --extra dev -c requirements/lab.txt -o requirements/dev.txt
	# Some have the releases of gunicorn, which therefore comes first, and some a Python of their own.
	for stack in services/stacks/gunicorn/ services/stacks/*/; do \
		version=$$(sed -n 's/^python = "\(3\.[0-9]*\).*/\1/p' $${stack}stack.toml 2>/dev/null); \
		$(COMPILE) --python-version $${version:-3.11} $${stack}requirements.in -o $${stack}requirements.txt || exit 1; done

clean: $(VENV)/.lab ## Stop the lab, remove its images and environments; results stay
	$(BIN)/invoke lab.clean
	rm -rf $(VENV)
