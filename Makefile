# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Many small models on few cores: worker processes, each with one compute thread, finish sooner
# than one process whose libraries all spin for the same cores.
WORKERS ?= 2
# The tests start hundreds of processes, each of which would compile the package anew where the
# environment forbids to keep what was compiled.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

.FORCE:
.PHONY: .FORCE constraints help demo test test-oldest test-newest test-emulated test-litert test-rknn test-triton test-kserve test-ray test-full soak fuzz faults jetson nightly check format emulated bench docs packages clean

help:
	@echo 'make demo [OUT=out/demo]'
	@echo '                  install, then all steps on the built-in detector, with a report'
	@echo 'make demo MODEL=best.pt IMAGES=folder [OUT=out/demo]'
	@echo '                  install, then inspect, export, prove and run that checkpoint'
	@echo 'make test         install, then the test suite (under 12 minutes on two cores)'
	@echo 'make test-oldest  the lowest versions that pyproject.toml allows, in .venv-oldest (0.6 GB)'
	@echo 'make test-newest  the newest versions of the registries, in .venv-newest (0.8 GB)'
	@echo 'make test-emulated   int8 on an emulated processor without VNNI, as CI runs it'
	@echo 'make test-litert  LiteRT files with the real converter, installed into .venv-litert (2 GB)'
	@echo 'make test-rknn    RKNN files with the real toolkit and its simulator, in .venv-rknn (1.5 GB)'
	@echo 'make test-triton  a real Triton server, in an environment of its own (.venv-triton, 0.4 GB)'
	@echo 'make test-kserve  KServe'"'"'s own server, in .venv-kserve (0.5 GB)'
	@echo 'make test-ray     archives on a Ray cluster and in a bucket, in an environment of its own'
	@echo 'make test-full    everything, slow tests too'
	@echo 'make soak [MINUTES=10]   live cameras on loopback: does anything grow, age or get lost?'
	@echo 'make fuzz [MINUTES=10]   damaged inputs of all kinds: only our own errors, or equal results?'
	@echo 'make faults [MINUTES=10] commands killed at random moments: is anything lost, mixed or left?'
	@echo 'make jetson       the runtime part on Python 3.10, NumPy 1.21 and OpenCV 4.5, as JetPack 6 has them'
	@echo 'make nightly      test-full with all emulated processors, jetson, docs, fuzz, faults, a soak of an hour'
	@echo 'make emulated BUNDLE=out/best   check a bundle on processors that qemu-user emulates'
	@echo 'make check        ruff, mypy --strict, imports, names, words, the size budget'
	@echo 'make docs         the site of docs/, built strictly into site/'
	@echo 'make packages     the wheel and the source archive, in dist/'
	@echo 'make bench BUNDLE=out/best IMAGES=folder   what pre- and post-processing cost'

$(VENV)/.user: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt -e '.[demo,stream]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	$(PIP) install -q --no-deps pnnx==20261020 # converts to NCNN; what it asks for is not needed
	@touch $@ $(VENV)/.user

OUT ?= out/demo
demo: $(VENV)/.user
ifeq ($(MODEL)$(IMAGES),)
	$(BIN)/ghost-deploy demo -o '$(OUT)' --overwrite
else
	@test -n '$(MODEL)' -a -n '$(IMAGES)' || { \
	  echo 'usage: make demo [MODEL=best.pt IMAGES=folder-of-images] [OUT=out/demo]'; exit 2; }
	$(BIN)/ghost-deploy inspect '$(MODEL)'
	$(BIN)/ghost-deploy export '$(MODEL)' -o '$(OUT)/bundle' --images '$(IMAGES)' --overwrite
	rm -f '$(OUT)/detections.jsonl'
	$(BIN)/ghost-deploy infer '$(OUT)/bundle' '$(IMAGES)' -o '$(OUT)/annotated' --jsonl '$(OUT)/detections.jsonl' --overwrite
endif

test: $(VENV)/.dev
	$(PYTEST) -m 'not slow and not emulated' --ignore=tests/serving

test-emulated: $(VENV)/.dev
	$(PYTEST) -m 'emulated and not slow' tests/judge/check

# The converter for LiteRT, in an environment of its own (2 GB); its torch is that of constraints.txt.
LITERT := .venv-litert/bin/python
$(LITERT): constraints.txt
	test -x $(LITERT) || $(PYTHON) -m venv .venv-litert
	$(LITERT) -m pip --disable-pip-version-check install -q "$$(grep ^torch== constraints.txt)" litert-torch==0.10.0
	@touch $@

test-litert: $(VENV)/.dev $(LITERT)
	GHOST_DEPLOY_LITERT_PYTHON=$(LITERT) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/export/test_litert.py

# rknn-toolkit2, in an environment of its own (1.5 GB); elsewhere: make test-rknn RKNN=path/to/python
RKNN ?= .venv-rknn/bin/python
test-rknn: $(VENV)/.dev
	test -x '$(RKNN)' || tools/rknn_env.sh .venv-rknn
	GHOST_DEPLOY_RKNN_PYTHON='$(RKNN)' OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/export/test_rknn.py

# Ray, an S3 server and the data sets of Hugging Face, a gigabyte that nothing else needs.
RAY_VENV ?= .venv-ray
$(RAY_VENV)/.ready: pyproject.toml constraints.txt
	test -x $(RAY_VENV)/bin/python || $(PYTHON) -m venv $(RAY_VENV)
	$(RAY_VENV)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt \
	  -e '.[batch,onnxruntime,ray,stream]' 'datasets>=3' duckdb hypothesis 'moto[server]>=5' onnx pandas pytest
	@touch $@

test-ray: $(RAY_VENV)/.ready
	OMP_NUM_THREADS=1 PYTHONPATH=. $(RAY_VENV)/bin/python -m pytest -q tests/batch

test-full: $(VENV)/.dev
	$(PYTEST)

MINUTES ?= 10
soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tools/soak.py --minutes $(MINUTES)

fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tools/fuzz.py --minutes $(MINUTES)

faults: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tools/faults.py --minutes $(MINUTES)

# A real Triton server. Its Python gets the packages of the tests but for NumPy: the stub of this Triton
# returns empty tensors with NumPy 2. Without the dependencies of pytriton, of which only the server is
# used, and of packages that ask for NumPy 2 but run with 1.26.
TRITON ?= .venv-triton
TRITON_PIP := $(TRITON)/bin/python -m pip --disable-pip-version-check install -q
$(TRITON)/.made: pyproject.toml constraints.txt
	test -x $(TRITON)/bin/python || $(PYTHON) -m venv $(TRITON)
	$(TRITON_PIP) 'numpy==1.26.4' -e .
	$(TRITON_PIP) -c constraints.txt --no-deps onnxruntime opencv-python-headless 'nvidia-pytriton==0.7.0'
	@touch $@

test-triton: $(VENV)/.dev $(TRITON)/.made
	OMP_NUM_THREADS=1 GHOST_DEPLOY_TRITON='$(abspath $(TRITON))' \
	  $(BIN)/python -m pytest -q -m 'not slow' tests/serving

# KServe's own server, with a model of its Python.
KSERVE ?= .venv-kserve
$(KSERVE)/.made: Makefile
	test -x $(KSERVE)/bin/python || $(PYTHON) -m venv $(KSERVE)
	$(KSERVE)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt onnxruntime
	$(KSERVE)/bin/python -m pip --disable-pip-version-check install -q 'kserve==0.21.*'
	@touch $@

test-kserve: $(VENV)/.dev $(KSERVE)/.made
	OMP_NUM_THREADS=1 GHOST_DEPLOY_KSERVE='$(abspath $(KSERVE))' $(BIN)/python -m pytest -q tests/serving/test_kserve.py

# The runtime part of the suite on what JetPack 6 ships, without torch and onnx. The two tests that
# are left out have images of one pixel, which OpenCV 4.5.4 does not take.
JETSON_PYTHON ?= python3.10
JETSON := .venv-jetson/bin/python
JETSON_LACKS := av,Jinja2,jinja2,onnx,onnxruntime,onnxsim,paho,paho-mqtt,PyYAML,safetensors,starlette,torch,uvicorn,yaml
jetson:
	test -x $(JETSON) || $(JETSON_PYTHON) -m venv .venv-jetson
	$(JETSON) -m pip --disable-pip-version-check install -q -e . 'numpy==1.21.5' \
	  'opencv-python-headless==4.5.4.60' 'msgspec==0.21.0' 'pytest>=8' 'pytest-xdist>=3.6' 'hypothesis>=6.100'
	OMP_NUM_THREADS=1 GHOST_DEPLOY_REQUIRED_RUNTIMES= GHOST_DEPLOY_TESTS_WITHOUT=$(JETSON_LACKS) $(JETSON) -m pytest -q -n $(WORKERS) \
	  -m 'not slow and not emulated' tests/core tests/processing tests/runtimes tests/stream tests/test_detector.py \
	  --deselect=tests/processing/test_letterbox.py::test_apply_is_resize_then_border \
	  --deselect=tests/processing/test_preprocess.py::test_reused_buffers_never_show_an_earlier_image

# Whether the versions of constraints.txt go together on each Python, without installing them.
constraints: | $(VENV)/.dev
	for version in 3.10 3.11 3.12 3.13; do \
	  $(BIN)/uv pip compile -q --python-version $$version -c constraints.txt --extra dev --extra ray pyproject.toml \
	    -o $(VENV)/resolved.txt || { echo "constraints.txt: no solution on Python $$version"; exit 1; }; \
	done

# What a machine that runs models may have: the lowest versions that pyproject.toml allows, on the oldest
# Python, and the newest that the registries have, unlike constraints.txt; without torch and what needs it.
OLDEST_PYTHON ?= python3.10
NEWEST_PYTHON ?= python3
EDGE_EXTRAS := batch,kserve,ncnn,onnxruntime,openvino,report,stream,validate,web
EDGE_TESTS := tests/core tests/processing tests/report tests/runtimes tests/stream tests/test_detector.py
.venv-oldest/.made: pyproject.toml Makefile | $(VENV)/.dev
	$(BIN)/uv venv -q --clear --seed --python '$(OLDEST_PYTHON)' .venv-oldest
	$(BIN)/uv pip install -q --python .venv-oldest --resolution lowest-direct -e '.[$(EDGE_EXTRAS)]' \
	  'onnx>=1.16' 'pytest>=8' 'pytest-xdist>=3.6' 'hypothesis>=6.100'
	@touch $@

.venv-newest/.made: .FORCE | $(VENV)/.dev
	$(BIN)/uv venv -q --clear --seed --python '$(NEWEST_PYTHON)' .venv-newest
	$(BIN)/uv pip install -q --python .venv-newest -e '.[$(EDGE_EXTRAS),litert]' \
	  onnx Pillow pytest pytest-xdist hypothesis
test-oldest test-newest: test-%: .venv-%/.made
	OMP_NUM_THREADS=1 GHOST_DEPLOY_REQUIRED_RUNTIMES= GHOST_DEPLOY_TESTS_WITHOUT=nncf,onnxsim,safetensors,torch \
	  .venv-$*/bin/python -m pytest -q -n $(WORKERS) -m 'not slow and not emulated' $(EDGE_TESTS)

# With a folder for Debian's system of ARM, which the tests of emulated ARM processors fetch once.
nightly: export GHOST_DEPLOY_EMULATION ?= $(HOME)/.cache/ghost-deploy-emulation
nightly: constraints docs test-full test-oldest test-newest test-ray jetson test-litert test-rknn test-triton test-kserve
	$(MAKE) fuzz MINUTES=30
	$(MAKE) faults MINUTES=30
	$(MAKE) soak MINUTES=60

emulated: $(VENV)/.dev
	@test -n '$(BUNDLE)' || { echo 'usage: make emulated BUNDLE=folder'; exit 2; }
	$(BIN)/python tools/emulate.py all -- check '$(BUNDLE)' --no-speed --timeout 1800

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_imports.py tests/test_budget.py \
	  tests/test_names.py tests/test_words.py

$(VENV)/.docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'site/index.html'

packages: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m hatchling build

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	@test -n '$(BUNDLE)' -a -n '$(IMAGES)' || { echo 'usage: make bench BUNDLE=folder IMAGES=folder'; exit 2; }
	$(BIN)/python -m benchmarks.end_to_end '$(BUNDLE)' '$(IMAGES)'

clean:
	rm -rf out build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
