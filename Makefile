# Two commands do everything on a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/demo

.PHONY: help install demo baselines test lowest lint docs tensorboard benchmark clean
help:            ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/  —/'

install: .venv/.installed  ## environment and package, once; again only when pyproject.toml changes
.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar off -e '.[dev]'
	touch $@

demo: install    ## train a PixelVAE on 5,000 embedded digits, evaluate it, draw its pictures
	$(BIN)/python scripts/demo.py --out $(RUN)

baselines: install  ## what the demo's numbers stand beside (about 25 minutes)
	$(BIN)/python scripts/baselines.py

test: install    ## the whole suite
	$(BIN)/python -m pytest

lowest: install  ## the suite with the lowest version of every dependency
	$(BIN)/python scripts/lowest.py

lint: install    ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# --quiet would hide warnings from the counter of --strict.
docs: .venv/.docs  ## the pages of docs/ as a site, in build/site; a broken link or reference is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
.venv/.docs: .venv/.installed
	$(BIN)/python -m pip install --progress-bar off -e '.[docs]'
	touch $@

tensorboard: install  ## look at the runs in a browser
	$(BIN)/tensorboard --logdir runs

benchmark: install  ## speed, by ratios within one run
	$(BIN)/python scripts/benchmark_training.py
	$(BIN)/python scripts/benchmark_growth.py
	$(BIN)/python scripts/benchmark.py

clean:           ## remove runs and caches, keep the environment
	rm -rf runs .pytest_cache .ruff_cache .mypy_cache
