# Everything runs from .venv, which `make venv` builds from pyproject.toml alone.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Parts of the tests that run beside each other, each with servers of its own.
JOBS ?= 3

.PHONY: venv demo test conformance faults lint docs bench clean

venv: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python migration_guide/demo.py $(if $(KEEP),--keep)

test: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

# Celery's own integration suite, on this package; ARGS=canvas for its tests of canvases alone.
conformance: $(STAMP)
	$(BIN)/python -m tests.conformance.run $(ARGS)

# Breaks real processes under load, and counts: half an hour; ARGS=--short takes four minutes, ARGS=storm one row.
faults: $(STAMP)
	$(BIN)/python -m tests.faults $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The guide as a site, with search: .cache/docs/index.html. A broken link or a page in no list fails.
docs: $(STAMP)
	$(BIN)/python -m sphinx --builder html --conf-dir migration_guide --doctree-dir .cache/doctrees --nitpicky \
		--fail-on-warning --keep-going --quiet . .cache/docs

bench: $(STAMP)
	$(BIN)/python -m bench

clean:
	rm -rf .venv .cache
