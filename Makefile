# A thin line over the command `lora-edu`: each target sets up .venv by itself when it is missing, or
# when pyproject.toml has changed. Windows, conda: notebooks/SETUP.md.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
LORA_EDU := $(PY) -m lora_edu.cli
# What the environment was made of: its place and what it was asked to hold.
STAMP := $(VENV)/made-from
# Has the libraries below NumPy and torch compute as on a processor of 2008, which rounds otherwise.
OLD := ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 ONEDNN_MAX_CPU_ISA=SSE41 \
       OPENBLAS_CORETYPE=Nehalem
# What runs so: those that need seconds. All of them: make old NOTEBOOKS=notebooks
NOTEBOOKS ?= notebooks/0[123]_*.ipynb

.PHONY: help lab check test old slow smoke mutants release figures notebooks slides handouts quizzes assignment site site-voice kit bench venv clean

help:
	@echo "make lab           open your own copy of the course in JupyterLab"
	@echo "make check         say in a minute or two whether a change broke anything"
	@echo "make test          run every test and every notebook"
	@echo "make old           run notebooks 01 to 03 as an old processor does, which rounds otherwise"
	@echo "make smoke         one of each kind in a real browser: a lesson, a film, the site, slides"
	@echo "make slow          every exercise solved, other seeds, the package alone, all of the browser"
	@echo "make release       all of these, and every record verified with the code as it is"
	@echo "make figures       draw anew what has changed in figures/"
	@echo "make notebooks     build notebooks/*.ipynb from notebooks/src/"
	@echo "make slides        make slides/*.html, which need no network"
	@echo "make handouts      make handouts/: the slides of a class, and what is printed for it, as PDF"
	@echo "make quizzes       make quizzes/, for Moodle and to print"
	@echo "make site          make site/, the web edition, which needs no network either"
	@echo "make site-voice    the same, with the chat model: it answers in a page (110 MB more)"
	@echo 'make assignment LESSONS="01 03"   make assignments/, for nbgrader'
	@echo "make kit           make kit/, a folder for a room without a network"
	@echo "make mutants       break the code at random places: how many breaks do the tests see?"
	@echo "make bench         measure the layer and whole models"
	@echo "make clean         remove .venv and caches"

venv:
	@if { echo "$(CURDIR)"; cat pyproject.toml; } | cmp -s - $(STAMP) && $(PY) -c ''; then :; else \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "Python 3.10 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }; \
	  echo "Setting up $(VENV) (once; downloads several hundred MB or more, and is silent for 2 to 5 minutes)"; \
	  if [ -f $(STAMP) ] && [ "$$(head -n 1 $(STAMP))" != "$(CURDIR)" ]; then rm -rf $(VENV); fi; \
	  rm -f $(STAMP); \
	  $(PYTHON) -m venv $(VENV) \
	  && $(PY) -m pip install --quiet --disable-pip-version-check -e '.[course,test,dev]' \
	  && { echo "$(CURDIR)"; cat pyproject.toml; } > $(STAMP); \
	fi

lab check test figures: venv
	@$(LORA_EDU) $@

old: venv
	@$(OLD) $(LORA_EDU) test $(NOTEBOOKS)

smoke: venv
	@$(LORA_EDU) test --browser -m smoke

slow: venv
	@$(LORA_EDU) test --slow
	@$(LORA_EDU) test --browser -m ""

release: check test slow
	@$(LORA_EDU) records --verified

notebooks: venv
	@$(PY) notebooks/build.py

slides handouts quizzes site site-voice: venv
	@$(PY) notebooks/build.py --$@

assignment: venv
	@$(PY) notebooks/build.py --assignment $(LESSONS)

kit: slides handouts quizzes site
	@rm -rf kit && mkdir kit
	@git archive --prefix=kit/lora/ HEAD | tar x
	@cp -r slides handouts quizzes site kit
	@$(PY) -m pip download --quiet --dest kit/wheels '.[course,test,dev]' hatchling editables
	@LORA_EDU_ASSETS=kit/assets $(LORA_EDU) assets --fetch
	@du -sm kit/* && du -sm kit

mutants: venv
	$(PY) -m pip install --quiet -e '.[mutants]'
	for area in core tools builder; do $(PY) tests/mutants.py $$area || exit; done

bench: venv
	for name in layers model; do $(PY) tests/benchmarks/$$name.py || exit; done

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist kit
