# The workshop. Every command makes its own .venv first; nothing else is touched on this machine.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# uv reads no pip configuration; these are pip's settings under its names.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_LINK_MODE ?= copy
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: install demo check test nightly bench bench-train bench-watch lock clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), once: a minute or a few, 5 GB"
	$(BIN)/pip install --quiet --progress-bar off -c constraints.txt uv
# A minute with uv, four with pip; pip does it where a pip.conf knows of an index that uv does not.
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[all]" || \
	$(BIN)/pip install --quiet --progress-bar off -c constraints.txt -e ".[all]"
	touch $@

demo: $(STAMP)
	$(BIN)/fullcircle demo

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# A file's tests share servers and models, so they stay with one worker. More workers than cores only wait.
TEST_WORKERS ?= 2
# `make test ROOM=serving`: that room's unit, contract and integration tests alone, without the checks. Several rooms are
# given as ROOM="serving store".
ifneq ($(origin ROOM),undefined)
ROOMS      := $(sort $(notdir $(patsubst %/__init__.py,%,$(wildcard platform/src/fullcircle/*/__init__.py))))
ROOM_TESTS := $(wildcard $(foreach kind,unit contract integration,$(addprefix tests/$(kind)/,$(ROOM))))
ifneq ($(filter-out $(ROOMS),$(ROOM))$(if $(strip $(ROOM)),,none),)
$(error ROOM: there is no room '$(ROOM)'; the rooms are $(ROOMS))
endif
ifeq ($(ROOM_TESTS),)
$(error ROOM: '$(ROOM)' has no tests of its own)
endif
test: $(STAMP)
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile $(ROOM_TESTS)
else
test: check
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile
endif

# What is too heavy for every change. The last -m on the line wins over the one in pyproject.toml. Exit code 5, no test
# chosen, is a failure here: a night without a test is no good night.
nightly: $(STAMP)
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile -m nightly

bench: $(STAMP)
	@for script in $(sort $(wildcard tests/benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

bench-train: $(STAMP)
	$(BIN)/python tests/benchmarks/train.py
	$(BIN)/python tests/benchmarks/train_scaling.py
	$(BIN)/python tests/benchmarks/train_restart.py

# About a quarter of an hour and 1 GB of the disk.
bench-watch: $(STAMP)
	$(BIN)/python tests/benchmarks/watch.py --rows 10000000 --window 3000000 --wide 1000 --wide-rows 100000

# torch and its CUDA companions stay out: a GPU machine gets the CUDA build, a CPU machine the CPU build.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --upgrade --no-annotate --no-header --output-file .lock.tmp --quiet
	grep -viE '^(torch|triton|(nvidia|cuda)-[^ ]*)==' .lock.tmp > constraints.txt; rm .lock.tmp

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
