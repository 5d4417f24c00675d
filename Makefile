# make demo   ask a spoken question about a picture and hear the answer
# make up     start everything and stay; Ctrl-C or `make down` stops it
# make test   install what the tests need and run them all
# make clean  stop what runs and remove what the others made
#
# TORCH_INDEX=URL   an index that carries the CPU build of torch, where the default one has the CUDA build
# GPU=1             accept the CUDA build (several GB)
# PYTHON=…          a Python 3.11, if it is not called python3.11

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python install.py --torch-index "$(TORCH_INDEX)" --gpu "$(GPU)"
PINS := pyproject.toml requirements.lock install.py

export OMP_NUM_THREADS ?= 1

.PHONY: demo up down status test protos lint clean

demo: $(VENV)/.installed-serve
	$(BIN)/parley demo

up: $(VENV)/.installed-serve
	@exec $(BIN)/parley up

# What is not installed does not run.
down:
	@if [ -x $(BIN)/parley ]; then $(BIN)/parley down; else echo "nothing runs here"; fi

status:
	@if [ -x $(BIN)/parley ]; then $(BIN)/parley status; else echo "nothing runs here"; exit 1; fi

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

protos: $(VENV)/.installed-test
	PATH=$(CURDIR)/$(BIN):$$PATH protos/generate.sh

$(VENV)/.installed-serve: $(VENV)/.created $(PINS)
	$(INSTALL) serve
	@touch $@

$(VENV)/.installed-test: $(VENV)/.created $(PINS)
	$(INSTALL) serve train test
	@touch $@ $(VENV)/.installed-serve

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	@touch $@

clean: down
	rm -rf $(VENV) .parley parley.egg-info answer.wav
