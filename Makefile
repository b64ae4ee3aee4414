# `make demo` and `make test` need nothing but python3.11+ and the package index; everything goes into $(VENV).
PYTHON ?= python3
VENV ?= .venv
WORK ?= build
FUZZ_SECONDS ?= 60
PROCESSORS ?= haswell ivybridge
TESTS ?=
BIN = $(VENV)/bin
DEMO = $(WORK)/demo

.DEFAULT_GOAL := help
.PHONY: help demo test test-elsewhere check format lint types contracts notebook commands golden wheel wheel-check benchmark clean fuzz kills

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("charrnn needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The demo has an environment of its own, without what the tests need; editable, so that a second demo runs today's code.
$(DEMO)/installed: pyproject.toml
	@echo "Installing TensorFlow and the converters into $(DEMO): 1 to 5 minutes, 3 GB of disk."
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("charrnn needs Python 3.11 or newer, this is " + sys.version)'
	@$(PYTHON) -m venv $(DEMO)
	@$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[train,export]'
	@touch $@

# Temperature 0.7 shows the model at its best: at 1 it draws some names that nobody could say, at 0.5 a fifth of what it
# draws are names of the list. --novel leaves those out, --unique repetitions.
demo: ## train on Dutch place names, export, verify, sample without TensorFlow: 5 to 10 minutes on two cores
	@echo "The demo takes 5 to 10 minutes on two cores: installing, training (about 4 minutes), exporting, drawing twenty names."
	@$(MAKE) --no-print-directory $(DEMO)/installed
	$(DEMO)/bin/charrnn train data/nl_cities.csv -o artifacts/demo --force
	$(DEMO)/bin/charrnn export artifacts/demo
	$(DEMO)/bin/charrnn verify artifacts/demo/bundle/model.onnx
	$(DEMO)/bin/charrnn verify artifacts/demo/bundle/model.tflite
	@echo "The bundle goes to a fresh environment that has no TensorFlow:"
	@rm -rf $(DEMO)/dist $(WORK)/device
	@$(DEMO)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(DEMO)/dist .
	@$(PYTHON) -m venv $(WORK)/device
	@$(WORK)/device/bin/python -m pip install --quiet --disable-pip-version-check $(DEMO)/dist/*.whl
	@cd $(WORK)/device && bin/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("tensorflow") is not None)'
	@echo "Twenty names at temperature 0.7, none of them in the list that it learned:"
	$(WORK)/device/bin/charrnn sample artifacts/demo/bundle --engine onnxruntime -n 20 --temperature 0.7 --novel --unique --seed 7
	@echo "Next, your own list:  $(DEMO)/bin/charrnn train my_lines.txt"
	@echo "Figures, curves and samples of this run:  artifacts/demo/report.html"

test: $(VENV)/installed ## install what the tests need and run them
	$(BIN)/python -m pytest -n auto

test-elsewhere: $(VENV)/installed ## run TESTS as two older processors would, the second time without compilers, make, node, emulators
	set -e; for processor in $(PROCESSORS); do \
	  $(BIN)/python tests/elsewhere/elsewhere.py --processor $$processor $$(test $$processor = haswell || echo --without-tools) \
	    -- -n auto $(TESTS); \
	done

check: format lint types contracts test ## everything that must be green before a commit

format: $(VENV)/installed
	$(BIN)/ruff format --check --quiet .

lint: $(VENV)/installed
	$(BIN)/ruff check --quiet .

types: $(VENV)/installed
	$(BIN)/mypy

contracts: $(VENV)/installed
	$(BIN)/lint-imports --no-logo > $(VENV)/contracts.log || { cat $(VENV)/contracts.log; exit 1; }

notebook: $(VENV)/installed ## run docs/how_it_works.ipynb and keep its outputs
	$(BIN)/python docs/run_notebook.py

commands: $(VENV)/installed ## write docs/commands.md from the options of the commands
	$(BIN)/python docs/make_commands.py

golden: $(VENV)/installed ## make the committed golden model again
	$(BIN)/python tests/golden/make_golden.py

kills: $(VENV)/installed ## kill training 50 times and in each of its writes; every run must go on to the same end
	$(BIN)/python benchmarks/kills.py
	$(BIN)/python benchmarks/kills.py --mode text

wheel: $(VENV)/installed
	rm -rf $(WORK)/dist
	$(BIN)/python -m build --wheel --outdir $(WORK)/dist . > $(VENV)/wheel.log || { cat $(VENV)/wheel.log; exit 1; }

wheel-check: wheel ## run the runtime's tests on an installed wheel, where TensorFlow is absent
	$(PYTHON) -m venv --clear $(WORK)/base
	$(WORK)/base/bin/python -m pip install --quiet --disable-pip-version-check $(WORK)/dist/*.whl pytest hypothesis
	$(WORK)/base/bin/python tests/end_to_end/base_only_check.py tests/golden/one_layer
	$(WORK)/base/bin/python -m pytest -c tests/pytest_installed.ini --rootdir . tests/runtime

fuzz: $(VENV)/installed ## feed the text functions of the C export odd input for FUZZ_SECONDS
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS)

clean: ## remove what the targets made
	rm -rf $(VENV) $(WORK)
