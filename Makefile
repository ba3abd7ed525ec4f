# `make demo` and `make test` are all a newcomer needs; both install into .venv first.

PYTHON ?= python3
BIN = .venv/bin
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: install demo test lint types docs check clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m spacy project run all
	$(BIN)/pip install --quiet --no-deps --force-reinstall packages/lgu_mistral_ner-*/dist/*.whl
	$(BIN)/python scripts/show_pipeline.py lgu_mistral_ner

test: install lint types check

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

# The site, into site/. Any warning is an error. `make check` builds it as well.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check:
	$(BIN)/python -m pytest --numprocesses 2 --cov --cov-report=term-missing:skip-covered

clean:
	rm -rf .venv corpus training metrics visualizations packages site project.lock
