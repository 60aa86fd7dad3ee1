# All targets use the virtual environment .venv, which is created on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: test demo gallery coverage docs test-docs test-distributed test-oldest peers benchmarks-quick clean

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# two processes with one thread each: small networks do not gain from more threads;
	# make test-distributed runs the other file
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --ignore tests/training/test_engines.py

coverage: $(STAMP)
	$(BIN)/python -m pytest -q --cov

# one thread: small networks do not gain from more; figures are not shown
EXAMPLE := OMP_NUM_THREADS=1 MPLBACKEND=Agg PYTHONWARNINGS="ignore:FigureCanvasAgg" $(BIN)/python

demo: $(STAMP)
	$(EXAMPLE) -c "import runpy, matplotlib.pyplot as plt; \
	runpy.run_path('examples/first_steps.py'); plt.savefig('examples/first_steps.png', dpi=150)"
	@echo "Figure: examples/first_steps.png"

gallery: $(STAMP)
	for script in examples/*.py; do echo $$script; $(EXAMPLE) $$script || exit 1; done

# the documentation site, in docs/_build/html: executes all code, prints its seconds; warnings are errors
docs: $(VENV)/.installed-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -p no:cacheprovider skmissvae
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -j 2 -b html docs docs/_build/html

# the site in a browser: needs chromium and chromedriver (Debian: chromium, chromium-driver)
test-docs: docs
	$(BIN)/python -m pytest -q docs/test_site.py

$(VENV)/.installed-docs: $(STAMP)
ifndef LOCKED
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
endif
	touch $@

# the recipes of docs/guide/scale.md for Dask and Ray, which only this target installs
test-distributed: $(STAMP)
ifndef LOCKED
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[engines]"
endif
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/training/test_engines.py

# with LOCKED=1, as in CI on Linux with Python 3.11: only files with a SHA-256 in constraints-hashes.txt,
# which has those of docs and test-distributed, too;
# else torch first: a version range would select the newest build, with gigabytes of GPU packages
$(STAMP): constraints.txt setup.cfg pyproject.toml $(if $(LOCKED),constraints-hashes.txt)
	$(PYTHON) -m venv $(VENV)
ifdef LOCKED
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r constraints-hashes.txt
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
else
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
endif
	touch $@

# the tests with the lowest versions that setup.cfg allows; torch 2.5.1 only by OLDEST_TORCH=2.5.1,
# since on Linux it comes with 5 GB of GPU libraries
OLDEST_TORCH ?= 2.13.0
test-oldest: constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -q --upgrade pip
	grep -v '^torch==' constraints-oldest.txt > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install -q -c .venv-oldest/constraints.txt torch==$(OLDEST_TORCH)
	.venv-oldest/bin/python -m pip install -q -c .venv-oldest/constraints.txt -e ".[plot,progress]" pytest numpydoc skops hypothesis polars pyarrow
	.venv-oldest/bin/python -m pytest -q

# environments of the imputers that benchmarks/accuracy.py compares with
PEERS := $(patsubst benchmarks/environments/%.txt,.venv-peers/%/.installed,$(wildcard benchmarks/environments/*.txt))

peers: $(PEERS)

.venv-peers/%/.installed: benchmarks/environments/%.txt
	$(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install -q --upgrade pip
	.venv-peers/$*/bin/python -m pip install -q -r $<
	touch $@

# every benchmark in a small version, as a check that it runs
benchmarks-quick: $(STAMP)
	PYTHON=$(BIN)/python sh benchmarks/quick.sh

clean:
	rm -rf docs/_build docs/api docs/gallery docs/sg_execution_times.rst .asv $(VENV) .venv-oldest .venv-peers build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# -- the package ------------------------------------------------------------------------------
.PHONY: lint dist dist-check

# the checks of .pre-commit-config.yaml, and both type checkers on uses of the public methods
lint: $(STAMP)
	$(BIN)/python -m pip install -q codespell "pyright[nodejs]"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_typing.py

dist: $(STAMP)
	$(BIN)/python -m pip install -q build twine
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

# installs the wheel and runs tests of the sdist in a new environment; DIST_TESTS=all runs all
DIST_TESTS ?= some
dist-check: dist
	OMP_NUM_THREADS=1 $(BIN)/python packaging/check_dist.py --tests $(DIST_TESTS)

# -- faults -----------------------------------------------------------------------------------
.PHONY: faults

# errors, interrupts, full disks, little memory, threads and leaks: 16 minutes on two busy cores;
# FAULTS multiplies the numbers of trials
FAULTS ?= 1
faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/reliability/run_faults.py $(FAULTS)

# -- fuzzers ----------------------------------------------------------------------------------
.PHONY: fuzz

# random tables, and tampered files of each format, in two processes
FUZZ ?= 10000
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/reliability/fuzz.py $(FUZZ)

# -- tests of the tests -----------------------------------------------------------------------
.PHONY: test-fast mutants

# the files of tests/fast.txt without slow tests: under a minute
test-fast: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 @tests/fast.txt

# the tests on copies of the package with one fault each; the outcomes are in build/mutants.csv
mutants: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/reliability/mutants.py
