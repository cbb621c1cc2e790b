# Everything runs from .venv, which `make venv` builds from pyproject.toml alone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Parts of the tests that run beside each other, each with servers of its own.
JOBS ?= 3

.PHONY: long venv demo demo-move test coverage unit pythons lowest agents wheel-smoke conformance faults move move-tests fuzz lint docs bench actions clean

venv: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@# Each process that tests start would compile it again where Python writes no bytecode: 0.4 s of CPU for each.
	$(BIN)/python -m compileall -q pyramid_temporal_compat
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python migration_guide/demo.py $(if $(KEEP),--keep)

# An application moves from Celery to Temporal, with a picture of both sides' queues in the terminal: one to two minutes.
demo-move: $(STAMP)
	$(BIN)/python -m tests.move redis --demo $(ARGS)

test: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(APART:%=--ignore=%) $(ARGS)

# Tests that take long each: the applications of the guide with their own tests, the demo, and random canvases that are
# compared with Celery's, or whose workers are killed. Two to three minutes.
APART := tests/test_example.py tests/test_examples.py tests/trees
long: $(STAMP)
	$(BIN)/pytest -n logical --dist load $(APART) $(ARGS)

# The tests of `make test`, with branch coverage, which fails below the figure in pyproject.toml. On Python 3.12 or later:
# on 3.11 and a busy machine, the threads of a measured process can pass the GIL around for ever and run no line.
coverage: $(STAMP)
	@$(BIN)/python -c 'import sys; sys.exit("make coverage needs Python 3.12" if sys.version_info < (3, 12) else 0)'
	rm -rf .cache/coverage && mkdir -p .cache/coverage
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The tests that need no server of any kind: one to two minutes. They need CPU alone, so there is one part for each CPU.
unit: $(STAMP)
	$(BIN)/pytest -n logical --dist worksteal -m "not integration" $(ARGS)

# The unit tests and one end to end, on each other supported Python that this machine has.
pythons: $(STAMP)
	.ci/other_pythons

# The unit tests and a few end to end, with the lowest version of each dependency that pyproject.toml declares.
lowest: $(STAMP)
	.ci/lowest_versions

# The agents of migration_guide/tracing.md, in an environment of their own. Two minutes.
agents:
	PYTHON=$(PYTHON) .ci/agents $(ARGS)

# Builds the wheel, installs it into an empty environment, and runs one task with it.
wheel-smoke:
	PYTHON=$(PYTHON) .ci/wheel_smoke

# Celery's own integration suite, on this package; ARGS=canvas for its tests of canvases alone, ARGS=--lane=activity with
# single tasks as standalone activities.
conformance: $(STAMP)
	$(BIN)/python -m tests.conformance.run $(ARGS)

# Breaks real processes under load, and counts: half an hour; ARGS=--short takes four minutes, ARGS=storm one row.
faults: $(STAMP)
	$(BIN)/python -m tests.faults $(ARGS)

# Moves an application from real Celery to Temporal and back under load, with kills, and counts: from Redis, and from RabbitMQ
# where it is installed. A quarter of an hour; ARGS=--short takes less than four minutes.
move: $(STAMP)
	$(BIN)/python -m tests.move $(ARGS)

# The long tests of `migrate bridge`, `drain` and `switch`: kills, real Celery workers, a real RabbitMQ: three minutes. Without
# Debian's package rabbitmq-server, the tests of RabbitMQ are skipped.
move-tests: $(STAMP)
	PTEMPORAL_MOVE=1 $(BIN)/pytest tests/migrate/test_bridge.py tests/migrate/test_bridge_rabbitmq.py tests/migrate/test_drain.py tests/switch/test_rabbitmq.py -q $(ARGS)

# Gives every decoder broken input, other input each time, and compares more crontabs with Celery's: two minutes. It finds
# decoders without bounds.
fuzz: $(STAMP)
	PTEMPORAL_FUZZ_EXAMPLES=$(or $(EXAMPLES),1200) $(BIN)/pytest tests/fuzz tests/schedules/test_firing_times.py -q $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .cache/import-linter

# The guide as a site, with search: .cache/docs/index.html. A broken link or a page in no list fails.
docs: $(STAMP)
	$(BIN)/python -m sphinx --builder html --conf-dir migration_guide --doctree-dir .cache/doctrees --nitpicky \
		--fail-on-warning --keep-going --quiet . .cache/docs

bench: $(STAMP)
	$(BIN)/python -m bench

# What a task costs in billable actions; fails if that grows. Under a minute; `python -m bench.actions` measures all rows.
actions: $(STAMP)
	$(BIN)/python -m bench.actions --smoke $(ARGS)

clean:
	rm -rf .venv .cache
