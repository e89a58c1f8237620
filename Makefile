# make run   opens the studio        make test   runs every test
# Both create .venv and install what is pinned; nothing else has to be done first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint faults fuzz bench starter screenshots clean

run: .venv/run.stamp
	$(BIN)/streamlit run app.py

test: .venv/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: .venv/test.stamp  ## kills, fills, cuts and locks; prints what runs came to; about 15 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.run

fuzz: .venv/test.stamp  ## thousands of odd files, settings and command lines; about 2 minutes
	CHHATNI_FUZZ_CASES=4000 $(BIN)/python -m pytest tests/engine/test_fuzz.py

bench: .venv/run.stamp
	$(BIN)/python -m engine bench --sections latency,step,run,vocabulary --shapes 6x768 --precision fp32,auto \
		--device cpu --output bench/latest.json

starter: .venv/run.stamp  ## trains checkpoints/starter again from assets/corpus
	$(BIN)/python -m engine.starter

screenshots: .venv/test.stamp  ## pictures of every page in its main states, in screenshots/
	$(BIN)/python -m tests.e2e.screenshots

.venv/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/test.stamp: .venv/run.stamp tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
