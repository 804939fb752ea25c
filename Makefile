# make demo    the recipe and its control at laptop scale       make test    fast and slow tests, lint, types
# make fast    the fast tests only                            make lint    format, lint, types only
# make bench   speed beside TRL and mergekit  (ARGS="sft_small --rounds 2": a part of it)
# Each sets up .venv by itself. ACCEL=gpu|cpu overrides what is detected; PYTHON=… chooses the interpreter.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
ACCEL ?= $(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo gpu || echo cpu)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready-$(ACCEL)
READY_DEV := $(VENV)/ready-dev
BENCH := .venv-bench
READY_BENCH := $(BENCH)/ready
ARGS ?=
# Two files of tests at a time, a thread each: a test that needs more processes starts them itself. tests/conftest.py
# says which files come first.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
test fast: export OMP_NUM_THREADS := 1
test fast: export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test fast lint bench
demo: $(READY)
	$(BIN)/python train.py -m method=memphis,sft_continued $(ARGS)

test: lint
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

fast: $(READY) $(READY_DEV)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

lint: $(READY) $(READY_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY_BENCH)
	$(BENCH)/bin/python -m benchmarks $(ARGS)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; install one, or say where: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# Packages are compiled when they are first imported, which takes a third of the time; what was compiled must then be kept.
unexport PYTHONDONTWRITEBYTECODE

# torch comes from PyTorch's own CPU index, everything else from the package index, locked: an index that is named for one
# package only cannot answer for another.
$(VENV)/ready-cpu: requirements-cpu.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --retries 0 --no-deps --index-url https://download.pytorch.org/whl/cpu "torch==2.13.0+cpu"
	$(BIN)/python -m pip install --quiet --no-compile --no-deps -r requirements-cpu.txt
	@touch $@

$(VENV)/ready-gpu: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile -r requirements.txt
	@touch $@

$(READY_DEV): requirements-dev.txt $(READY)
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

# The peers stay out of the project's environment; theirs sees what is installed there.
SITE := import sysconfig; print(sysconfig.get_path("purelib"))
$(READY_BENCH): benchmarks/requirements.txt $(READY)
	$(BIN)/python -m venv --clear --without-pip $(BENCH)
	$(BIN)/python -c '$(SITE)' > "$$($(BENCH)/bin/python -c '$(SITE)')/project.pth"
	$(BIN)/python -m pip --python $(BENCH)/bin/python install --quiet --no-deps -r benchmarks/requirements.txt
	@touch $@
