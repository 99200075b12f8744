# Each target sets up .venv by itself when it is missing, or when pyproject.toml has changed.
# Nothing is installed again while nothing has changed. Windows: see README.md, "Without make".

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# What the environment was made of: its place and what it was asked to hold.
STAMP := $(VENV)/made-from

.PHONY: help lab test test-slow test-browser mutations robustness figures notebooks slides bench lint venv clean

help:
	@echo "make lab           open your own copy of the course in JupyterLab"
	@echo "make test          run the unit tests and every notebook"
	@echo "make test-slow     the lessons with five other seeds"
	@echo "make test-browser  run every lesson in a real JupyterLab, in a headless browser"
	@echo "make mutations     break the package on purpose: each break must fail a test (minutes)"
	@echo "make robustness    the lessons with two threads, and as an old processor computes"
	@echo "make figures       rebuild figures/"
	@echo "make notebooks     rebuild notebooks/*.ipynb from notebooks/src/"
	@echo "make slides        make slides/*.html, which need no network"
	@echo "make bench         measure the layers (minutes)"
	@echo "make lint          ruff, pyright, architecture; records, figures and notebooks against their sources"
	@echo "make clean         remove .venv and caches"

venv:
	@if { echo "$(CURDIR)"; cat pyproject.toml; } | cmp -s - $(STAMP) && $(PY) -c ''; then :; else \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "Python 3.10 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }; \
	  echo "Setting up $(VENV) (once; downloads several hundred MB or more)"; \
	  rm -f $(STAMP); \
	  $(PYTHON) -m venv $(VENV) \
	  && $(PY) -m pip install --quiet --disable-pip-version-check -e '.[course,test,dev]' \
	  && { echo "$(CURDIR)"; cat pyproject.toml; } > $(STAMP); \
	fi

# In a container one is root, and Jupyter wants to be told that this is meant.
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)

lab: venv
	@$(PY) notebooks/build.py --own
	$(PY) -m jupyter lab $(AS_ROOT) notebooks/mine

# Two workers of one thread each: two threads each would get in one another's way. The files come in
# the order of tests/conftest.py, the longest first: none of them starts when all others are done.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: venv
	@$(PY) -m lora_edu.cli assets --fetch >&2 || echo "What needs these assets will be skipped" >&2
	$(PYTEST)

# A test here is a whole lesson: any worker may take the next one.
test-slow: venv
	$(PYTEST) --dist worksteal -m slow

test-browser: venv
	$(PY) -m pytest tests/browser

mutations: venv
	$(PY) tests/mutations.py

robustness: venv
	$(PY) tests/robustness.py

figures: venv
	$(PY) -m lora_edu.cli figures

notebooks: venv
	$(PY) notebooks/build.py

bench: venv
	$(PY) tests/benchmarks/layers.py
	$(PY) tests/benchmarks/svd.py

slides: venv
	$(PY) notebooks/build.py --slides

lint: venv
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --pythonpath $(PY)
	$(PY) -m pytest -q tests/test_architecture.py
	$(PY) -m lora_edu.cli records
	$(PY) -m lora_edu.cli figures --check
	$(PY) notebooks/build.py --check

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist
