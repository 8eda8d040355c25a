# `make help` lists the targets. Those that need Python make .venv first.

PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
READY := .venv/.ready

OPTIONS = $(if $(PROFILE),--profile "$(PROFILE)") $(if $(DATA),--data "$(DATA)") $(if $(DEVICE),--device "$(DEVICE)") \
          $(if $(ONLY),--only $(ONLY)) $(if $(PUBLISH),--publish) $(if $(FAST),-p fast True) \
          $(if $(JOBS),--jobs-per-gpu $(JOBS)) $(if $(PDF),--pdf)

KNOWN := PYTHON PROFILE DATA DEVICE ONLY PUBLISH FAST JOBS PDF COURSE
GIVEN := $(foreach one,$(MAKEOVERRIDES),$(firstword $(subst =, ,$(one))))
$(if $(filter-out $(KNOWN),$(GIVEN)),$(error there is no option $(filter-out $(KNOWN),$(GIVEN)); `make help` lists them))

.PHONY: help .venv report pdf-tools test test-browser lint notebooks-test lab site site-tools grade grading-tools test-grading test-slurm bench soak audit clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z.-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  options of report: PROFILE=published|smoke|quick|laptop|full DATA=auto|cifar10|synthetic|PATH DEVICE=auto|cpu|cuda|mps'
	@echo '                     ONLY="05 06" PUBLISH=1 FAST=1 JOBS=2 PDF=1'

.venv: $(READY) ## set up the environment and nothing else

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo 'Setting up .venv: downloads torch with its CUDA libraries, several GB, a few minutes.'
	@base='import sys; print(sys.base_prefix)'; rm -f .venv/.began; \
	  [ "$$($(BIN)/python -c "$$base" 2>/dev/null)" = "$$($(PYTHON) -c "$$base")" ] || \
	  { rm -rf .venv && mkdir .venv && date +%s > .venv/.began; }  # none, or of another Python: begin with nothing
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[test]'
	@touch $@
	@[ ! -f .venv/.began ] || echo $$(($$(date +%s) - $$(cat .venv/.began))) > .venv/.seconds  # for the README
	@rm -f .venv/.began

report: $(READY) $(if $(PDF),pdf-tools) ## run the notebooks, write the report (the main job)
	@$(BIN)/python -m cifar_course.report $(OPTIONS)

pdf-tools: $(READY)
	@$(BIN)/python -c 'import pypandoc, typst' 2>/dev/null || $(INSTALL) '.[pdf]'

test: lint $(READY) ## lint, unit tests, and every notebook in the smoke profile
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --durations=20 --durations-min=4
	$(MAKE) --no-print-directory notebooks-test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

notebooks-test: $(READY)
	@rm -rf .artefacts/smoke
	@CIFAR_RUNS=.artefacts/smoke/runs CIFAR_FIGURES=.artefacts/smoke/figures CIFAR_CACHE=.artefacts/smoke/cache \
	  JUPYTER_PREFER_ENV_PATH=1 OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -n 2 --nbmake --nbmake-timeout=240 --timeout=900 notebooks

test-browser: $(READY) ## every notebook in JupyterLab in headless Chromium; screenshots in .artefacts/browser
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(INSTALL) '.[browser]'
	$(BIN)/python -m pytest -n 2 --dist load --durations=11 -m browser tests/browser

lab: $(READY) ## open the notebooks in JupyterLab, on this machine only
	JUPYTER_PREFER_ENV_PATH=1 $(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --notebook-dir=. notebooks/01_data.ipynb

site: site-tools ## the executed notebooks, the report and the guides as pages in site/ (PROFILE: whose)
	@$(BIN)/python -m cifar_course.publish.site $(if $(PROFILE),--profile "$(PROFILE)")

site-tools: $(READY)
	@$(BIN)/python -c 'import furo, myst_nb, sphinx' 2>/dev/null || $(INSTALL) '.[site]'

grade: $(READY) ## grade what is new in COURSE/submitted with nbgrader: COURSE=../grading JOBS=2 ONLY="01 02"
	@$(if $(COURSE),,echo 'Which course folder? make grade COURSE=../grading'; exit 2;) \
	  $(MAKE) --no-print-directory grading-tools && \
  $(BIN)/python -m cifar_course.hand.grade prepare "$(COURSE)" && \
	  $(BIN)/python -m cifar_course.hand.grade run "$(COURSE)" $(if $(JOBS),--jobs $(JOBS)) $(if $(ONLY),--only $(ONLY))

grading-tools: $(READY)
	@$(BIN)/python -c 'import nbgrader' 2>/dev/null || $(INSTALL) '.[grading]'

test-grading: grading-tools ## submissions of every kind, graded by nbgrader, two at a time
	$(BIN)/python -m pytest --durations=8 -m grading tests/test_grading.py

test-slurm: $(READY) ## a report as an array on the Slurm that runs here, one task killed, one at its limit
	$(BIN)/python -m pytest --durations=1 -m slurm tests/test_slurm.py

bench: $(READY) ## side-by-side timings, written to benchmarks/results.json
	$(BIN)/python benchmarks/run.py $(ONLY)

soak: grading-tools ## a hundred kills, 200 000 fuzzed inputs, wrong answers graded; written to benchmarks/soak.json
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py

audit: $(READY) ## look the installed packages up in the database of known vulnerabilities
	$(INSTALL) '.[audit]'
	$(BIN)/pip-audit --skip-editable

clean: ## remove local figures, pages and caches; runs, the data cache and .venv stay
	rm -rf figures/local site .artefacts .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
