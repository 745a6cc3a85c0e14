# Targets make .venv first where it is missing or out of date; they need only Java 17 or 21 and Python 3.11, 3.12 or 3.13.
# The choice of Python: make test PYTHON=/opt/python3.13/bin/python

export PYTHON
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv demo airflow test types lint check check-all format lock audit peers clean

help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

venv:
	@.ci/venv

demo: venv ## Tag a catalog of 2,000 articles over two nights and show what came out
	@$(BIN)/shelfwise demo

airflow: venv ## Start a local Airflow with the DAGs, until Ctrl-C; also: make airflow PORT=8081 CATALOG=shop.csv
	@$(BIN)/python .ci/local_airflow.py $(if $(PORT),--port $(PORT)) $(if $(CATALOG),--catalog "$(CATALOG)")

test: venv ## Run all tests, two files at a time
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: venv ## Check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# mypy runs beside the tests, in the time that these leave to the processors. Its output is printed as soon as it ends,
# and again at the end if one of the two failed, because the tests' output is long.
TYPES := .mypy_cache/last_output.txt

types: venv
	@mkdir -p $(dir $(TYPES))
	@nice -n 19 $(BIN)/mypy > $(TYPES) 2>&1; code=$$?; echo; cat $(TYPES); exit $$code

check: venv ## Run what CI runs: check format and style, then run the tests and meanwhile check the types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@+$(MAKE) --no-print-directory -j 2 types test || { cat $(TYPES); exit 1; }

check-all: export SHELFWISE_TEST_ALL := 1
check-all: check ## Run the same, where tests go farther in what they leave to chance

format: venv ## Put the code into the common format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Pin what pyproject.toml asks for in requirements*.txt; needs uv
	@.ci/lock

audit: venv ## Look the pins up in databases of known vulnerabilities; exit code 3 where none answers
	@$(BIN)/python .ci/audit.py

PEERS := tests/benchmarks/peers

peers: venv ## Build the environment of the systems that tests/benchmarks/bench_peers.py compares with
	@$(BIN)/python -m venv --clear $(PEERS)/.venv
	@$(PEERS)/.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r $(PEERS)/requirements.txt

clean: ## Remove caches, build leftovers and what the demo wrote; never another catalog's state or .venv
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build shelfwise.egg-info spark-warehouse metastore_db derby.log
	if [ -x $(BIN)/shelfwise ]; then SHELFWISE_HOME=$(CURDIR)/.shelfwise $(BIN)/shelfwise demo --clear; fi
	rm -rf .shelfwise/demo .shelfwise/scratch
	find . -path ./.venv -prune -o -path ./.shelfwise -prune -o -name __pycache__ -type d -exec rm -rf {} +
