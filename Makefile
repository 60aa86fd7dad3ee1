# Everything happens in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: test demo gallery coverage test-distributed test-oldest peers clean

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# a process a core, a thread a process: networks this small gain nothing from more threads
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

coverage: $(STAMP)
	$(BIN)/python -m pytest -q --cov

# one thread: on a busy machine a second one costs more than it brings
demo: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python examples/first_steps.py

gallery: $(STAMP)
	for script in examples/*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$script || exit 1; done

# recipes for Dask and Ray, which nothing else here needs
test-distributed: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[engines]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/training/test_engines.py

# torch first: a range would take the newest build, with gigabytes of GPU packages
$(STAMP): constraints.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

# the suite with the lowest versions that setup.cfg allows
test-oldest: constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -q --upgrade pip
	.venv-oldest/bin/python -m pip install -q -c constraints-oldest.txt -e . pytest numpydoc matplotlib skops hypothesis polars pyarrow
	.venv-oldest/bin/python -m pytest -q

# what benchmarks/accuracy.py compares with and the package itself has no use for
PEERS := $(patsubst benchmarks/environments/%.txt,.venv-peers/%/.installed,$(wildcard benchmarks/environments/*.txt))

peers: $(PEERS)

.venv-peers/%/.installed: benchmarks/environments/%.txt
	$(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install -q --upgrade pip
	.venv-peers/$*/bin/python -m pip install -q -r $<
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-peers *.egg-info .pytest_cache .mypy_cache .ruff_cache
