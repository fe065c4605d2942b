# Every verb sets up what it needs: a virtual environment in .venv with the package and its extension built.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# The CPU build of this release has no CUDA wheels behind it; set TORCH=torch for a CUDA machine.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(shell find csrc -type f)

.PHONY: demo test lint types bench report evidence faults docs wheel gpu gpu-dry gpu-bundle clean

# Without --no-compile pip compiles every file of torch, of which an import reads a fifth.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch in the same call: left to the package's own requirement, pip would take a build with gigabytes of CUDA wheels.
REQUIRE = @echo "installing $(TORCH) and what the package needs"; $(BIN)/python .ci/needs.py $(1) > $@.txt
$(VENV)/.needs-demo: pyproject.toml .ci/needs.py | $(BIN)/python
	$(call REQUIRE,envs plot)
	$(INSTALL) $(TORCH) -r $@.txt
	@touch $@

$(VENV)/.needs-all: pyproject.toml .ci/needs.py | $(BIN)/python
	$(call REQUIRE,all)
	$(INSTALL) $(TORCH) -r $@.txt
	@touch $@ $(VENV)/.needs-demo

$(VENV)/.native: $(SOURCES) | $(BIN)/python
	@echo "building gtp_fast and its native extension (about a minute)"
	$(INSTALL) --no-deps -e .
	@touch $@

# The build needs no other package, so both go side by side.
$(VENV)/.demo $(VENV)/.all: $(VENV)/.%: $(SOURCES) .ci/needs.py | $(BIN)/python
	@$(MAKE) --no-print-directory -j2 $(VENV)/.native $(VENV)/.needs-$*
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m gtp_fast.demo

test: $(VENV)/.all
	$(BIN)/python -m pytest tests -n auto --maxprocesses 8 --dist loadfile

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.all
	$(BIN)/mypy

bench: $(VENV)/.all
	$(BIN)/python -m pytest benchmarks --benchmark-only

report: $(VENV)/.all
	$(BIN)/python -m benchmarks.report

# More than a day on two cores; stopped and begun again it goes on.
evidence: $(VENV)/.demo
	$(BIN)/python -m benchmarks.evidence

# What docs/reliability.md reports, in one table; each part alone is a command of its own in tests/faults.
faults: $(VENV)/.all
	mkdir -p build
	$(BIN)/python -m coverage run tests/faults/fuzz.py 100 2
	$(BIN)/python -m coverage report
	$(BIN)/python tests/faults/campaign.py 1180 1000 50 3

docs: $(VENV)/.all
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "site/index.html; with search: $(BIN)/python -m mkdocs serve"

wheel: | $(BIN)/python
	$(BIN)/pip wheel --disable-pip-version-check --no-deps --wheel-dir wheelhouse .

# On the machine's own Python: a GPU machine brings its own torch and triton. BUNDLE names what gpu-bundle has made.
gpu:
	python3 -m benchmarks.gpu $(if $(BUNDLE),--bundle $(BUNDLE))

# The same on this CPU, in small: the emulation stands in for the GPU.
gpu-dry: $(VENV)/.all
	$(BIN)/python -m benchmarks.gpu --dry --results build/gpu-dry

# The extension, built for the GPU machine's Python, and the wheels that it lacks, in one file.
gpu-bundle: $(VENV)/.all
	$(BIN)/python -m benchmarks.gpu_bundle

clean:
	rm -rf $(VENV) build wheelhouse site gtp_fast/_native*.so *.egg-info
