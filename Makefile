# The workshop. Every command makes its own .venv first; nothing else is touched on this machine.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# uv where it is present, else pip; both see the local wheels that PIP_FIND_LINKS names.
UV     := $(shell command -v uv 2>/dev/null)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_LINK_MODE ?= copy
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

.PHONY: install demo check test bench bench-train lock clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifneq ($(UV),)
	$(UV) pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[all]"
else
	$(BIN)/pip install --quiet --progress-bar off -c constraints.txt -e ".[all]"
endif
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
test: check
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile

bench: $(STAMP)
	@for script in $(sort $(wildcard tests/benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

bench-train: $(STAMP)
	$(BIN)/python tests/benchmarks/train.py
	$(BIN)/python tests/benchmarks/train_scaling.py
	$(BIN)/python tests/benchmarks/train_restart.py

# torch and its CUDA companions stay out: a GPU machine gets the CUDA build, a CPU machine the CPU build.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --upgrade --no-annotate --no-header --output-file .lock.tmp --quiet
	grep -viE '^(torch|triton|(nvidia|cuda)-[^ ]*)==' .lock.tmp > constraints.txt; rm .lock.tmp

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
