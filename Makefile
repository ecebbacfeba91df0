# make demo   core install, six studies, the table and the page     make demo STUDY=/path/to/dicom   reads that instead
# make test   full install (about 6 GB with torch), every check and test
# make bench  full install, speed and size beside the paper's way
# make paper RSNA=/path/to/rsna   the paper's experiment: prepare, split, train, evaluate; killed, it goes on
# make small DATA=/path/to/data   the same on a fold of ct-ich, beside the default network: about an hour and a half on two cores
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

.PHONY: demo test bench check paper small clean

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

# The files that the commands of `paper` and `small` end with: a step that is done is not done again.
.SECONDARY:
PAPER := runs/prepared/rsna
SMALL := runs/prepared/ct-ich

paper: runs/effclass/evaluation/metrics.json

$(PAPER)/index.parquet: | .venv/full
	@test -n "$(RSNA)" || { echo "name the folder with stage_2_train.csv and the DICOM files: make paper RSNA=/path"; exit 2; }
	$(BIN)/cruor prepare rsna --root "$(RSNA)" --out $(PAPER) || [ $$? -eq 1 ] # 1: files put aside, said above

$(PAPER)/split.csv: | $(PAPER)/index.parquet
	$(BIN)/cruor split $(PAPER) --shares 90 5 5 --seed 1 --out $@

runs/effclass/predictions.parquet: $(PAPER)/split.csv
	$(BIN)/cruor train experiments/effclass.yaml

runs/effclass/evaluation/metrics.json: runs/effclass/predictions.parquet
	$(BIN)/cruor export runs/effclass runs/effclass/bundle --name effclass-rsna
	$(BIN)/cruor evaluate --bundle runs/effclass/bundle --data $(PAPER) --split $(PAPER)/split.csv --side test --out runs/effclass/evaluation

small: runs/effclass-ct-ich/evaluation/metrics.json

$(SMALL)/index.parquet: | .venv/full
	@test -n "$(DATA)" || { echo "name the folder that holds ct-ich: make small DATA=/path"; exit 2; }
	$(BIN)/cruor prepare ct-ich --root "$(DATA)/ct-ich" --out $(SMALL) $(if $(wildcard $(DATA)/blood-maps),--drawings "$(DATA)/blood-maps")

runs/%-ct-ich/predictions.parquet: $(SMALL)/index.parquet
	$(BIN)/cruor train experiments/$*-ct-ich.yaml

runs/%-ct-ich/bundle/manifest.json: runs/%-ct-ich/predictions.parquet
	$(BIN)/cruor export runs/$*-ct-ich runs/$*-ct-ich/bundle --name $*-ct-ich

runs/effclass-ct-ich/evaluation/metrics.json: runs/effclass-ct-ich/bundle/manifest.json runs/lite0-ct-ich/bundle/manifest.json
	$(BIN)/cruor evaluate --bundle runs/effclass-ct-ich/bundle --against runs/lite0-ct-ich/bundle --data $(SMALL) --split experiments/splits/ct-ich-5.csv --side fold0 --out runs/effclass-ct-ich/evaluation

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
