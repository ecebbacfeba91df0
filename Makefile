# make demo   core install, six studies, the table and the page     make demo STUDY=/path/to/dicom   reads that instead
# make test   full install (about 6 GB with torch), every check and test
# make bench  full install, speed and size beside the paper's way
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

.PHONY: demo test bench check clean

demo: .venv/core
ifdef STUDY
	$(BIN)/cruor triage "$(STUDY)" --out runs/study || [ $$? -eq 1 ] # 1: refused or unread, said above
else
	rm -rf $(DEMO)
	$(BIN)/cruor demo $(DEMO)/studies
	$(BIN)/cruor triage $(DEMO)/studies --out $(DEMO)/result
endif

test: check
	$(BIN)/python -m pytest

check: .venv/full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/full
	$(BIN)/python -m bench.run --install

# The markers are newer than pyproject.toml exactly when what it asks for is installed.
.venv/core: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("cruor needs Python 3.11 or newer; name one: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/full: pyproject.toml .venv/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train,test]'
	touch $@

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
