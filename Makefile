# `make demo` and `make test` are all a newcomer needs; both install what they use first.

PYTHON ?= python3
# What plain pip gives, with transformers 5; and spacy-transformers 1.4, with transformers 4.53.
BIN = .venv/bin
BIN4 = .venv-transformers4/bin
PYTEST = -m pytest --numprocesses 2 --cov-report=term-missing:skip-covered
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

# Rooms whose code is in the hands of the two libraries, and their tests. The others do the same in
# both environments: files of corpora and tables, heads on vectors, commands, pages and notebooks.
ROOMS4 = decoder layers listeners pipeline pretraining
TESTS4 = $(ROOMS4:%=tests/%) tests/compatibility tests/inspection tests/test_architectures.py \
	tests/cli/test_spacy.py tests/study/test_benchmark_config.py tests/study/test_checking.py

.PHONY: install install-transformers4 demo test lint types docs check check-transformers4 test-gpu clean

install: .venv/installed
install-transformers4: .venv-transformers4/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv-transformers4/installed: pyproject.toml constraints-transformers4.txt
	$(PYTHON) -m venv --clear .venv-transformers4
	$(BIN4)/pip install --quiet --constraint constraints-transformers4.txt --editable ".[dev,spacy-transformers]"
	touch $@

demo: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m spacy project run all
	$(BIN)/pip install --quiet --no-deps --force-reinstall "$$(ls -t packages/lgu_mistral_ner-*/dist/*.whl | head -n 1)"
	$(BIN)/python scripts/show_pipeline.py lgu_mistral_ner

# In this order also under `make --jobs`: both suites use two processes each.
test: install install-transformers4
	$(MAKE) lint types
	$(MAKE) check
	$(MAKE) check-transformers4

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# The site, into site/. Any warning is an error. `make check` builds it as well.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: install
	$(BIN)/python $(PYTEST) --cov

check-transformers4: install-transformers4
	$(BIN4)/python $(PYTEST) $(ROOMS4:%=--cov=spacy_lgu/%) $(TESTS4)

# What only a GPU shows; `make check` has these tests as well. On a CPU they run, but show less.
test-gpu: install
	$(BIN)/python -m pytest -m gpu -q

clean:
	rm -rf .venv .venv-transformers4 corpus training metrics visualizations packages site project.lock
