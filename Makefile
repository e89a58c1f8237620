# make run   opens the studio        make test   runs every test
# Both create .venv and install what is pinned; nothing else has to be done first.
PYTHON ?= python3
BIN := .venv/bin
# Nothing is installed whose hash is not written down, and nothing that is not written down.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all:

.PHONY: run test lint faults fuzz load audit lock bench starter screenshots clean

run: .venv/run.stamp
	$(BIN)/streamlit run app.py

test: .venv/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: .venv/test.stamp  ## kills, fills, cuts and locks; prints what runs came to; about 15 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.run

fuzz: .venv/test.stamp  ## thousands of odd files, settings and command lines; about half a minute
	CHHATNI_FUZZ_CASES=4000 $(BIN)/python -m pytest tests/engine/test_fuzz.py

audit:  ## asks for known weaknesses of what is installed; needs the internet and uv
	uvx pip-audit --require-hashes --disable-pip --strict --progress-spinner off -r tests/requirements.txt

lock:  ## writes requirements.txt and tests/requirements.txt from pyproject.toml; needs uv
	$(PYTHON) -m tests.lock

load: .venv/test.stamp  ## 20 sessions, 5,000 events a second, long files and texts; 300 runs; prints figures; about five minutes
	$(BIN)/python -m tests.load.run

bench: .venv/run.stamp
	$(BIN)/python -m engine bench --sections latency,step,run,vocabulary --shapes 6x768 --precision fp32,auto \
		--device cpu --output bench/latest.json

starter: .venv/run.stamp  ## trains checkpoints/starter again from assets/corpus
	$(BIN)/python -m engine.starter

screenshots: .venv/test.stamp  ## pictures of every page in its main states, in screenshots/
	$(BIN)/python -m tests.e2e.screenshots

.venv/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.13"; exit 1; }
	@# A venv that was made without its pip, as by a Debian that lacks python3-venv, is there and of no use.
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@# Where pip finds a CPU-only torch, that is meant; else this finds nothing, and the usual one follows.
	sed -n '/^torch==/,/[^\\]$$/p' requirements.txt | sed 's/^torch==[^ ]*/&+cpu/' > .venv/torch.txt
	$(PIP) -r .venv/torch.txt >/dev/null 2>&1 || true
	sed '/^# CUDA/,$$d' requirements.txt > .venv/common.txt
	$(PIP) -r .venv/common.txt
	@# A CPU-only torch needs nothing of the last part of the file, which is several gigabytes.
	if $(BIN)/python -c 'import importlib.metadata as m, sys; sys.exit("+cpu" in m.version("torch"))'; then \
		$(PIP) -r requirements.txt; fi
	$(BIN)/python -m pip check
	@touch $@

.venv/test.stamp: .venv/run.stamp tests/requirements.txt
	sed '/^-r /d' tests/requirements.txt > .venv/tests.txt
	$(PIP) -r .venv/tests.txt
	$(BIN)/python -m pip check
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
