# One command each: `make train` trains the first program, `make test` checks everything.
# Both build .venv first when it is missing or out of date; nothing but Python >= 3.11 and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.up-to-date

.PHONY: train test setup lint types browser docs soak fuzz bench clean

train: $(STAMP)
	$(BIN)/nesy-gedi train programs/addition.pl

# One process for each core; a file's tests stay together, since they share what the file trains.
test: lint types browser
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

# The report is tested in a real browser. Without the right to install one, that test says that it is skipped.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
			&& echo "Installing chromium for the browser test ..." \
			&& (apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }) >/dev/null 2>&1; } \
		|| echo "No chromium and no way to install it: the browser test will be skipped."

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# The documentation as a site, in build/site; a warning is an error.
docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/site

bench: $(STAMP)
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/zoo.py --results build/zoo.jsonl
	$(BIN)/python benchmarks/long_sums.py --results build/long-sums.jsonl
	$(BIN)/python benchmarks/shortcut_counting.py --results build/shortcut-counting.jsonl
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/views.py
	$(BIN)/python benchmarks/clustering.py --results build/clustering.jsonl
	$(BIN)/python benchmarks/shortcuts.py --results build/shortcuts.jsonl

# Everything that make test runs, what takes longer, and all examples of each property.
soak: lint types browser
	NESY_GEDI_SOAK=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile -m "soak or not soak"

# Random programs against problog and brute force; make test runs a few of them.
fuzz: $(STAMP)
	NESY_GEDI_FUZZ=2000 $(BIN)/python -m pytest tests/logic/test_random_programs.py --timeout 3000

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "nesy-gedi needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Next: make PYTHON=python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (PyTorch is large: about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,klay,timm,onnx,tensorboard,docs]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
