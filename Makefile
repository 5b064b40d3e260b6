# make install | demo | test | smoke      see README.md
VENV ?= .venv
PYTHON ?= python3
STACK ?= onedl
PYTEST_ARGS ?=

# Environments are made again when one of these files changes.
KEY := $(shell cat requirements/* | sha256sum | cut -c1-12)
RUN := $(abspath $(VENV))/bin/python
# Others for the demo: cellvta_tiny_synthetic_40x.py, cellvta_tiny_synthetic_weighted.py
CONFIG ?= configs/cellvta_tiny_synthetic.py
DATA := data/synthetic_conic
WORK := work_dirs/$(subst cellvta_tiny_synthetic,demo,$(basename $(notdir $(CONFIG))))

# Threads that wait soon leave their core to others: on a busy machine, spinning ones
# made a training step four times as long.
export GOMP_SPINCOUNT := 10000

.PHONY: install demo test smoke key

install:
	@PYTHON='$(PYTHON)' requirements/install.sh '$(abspath $(VENV))' '$(STACK)' '$(KEY)'

# Reordered, the files with the fewest tests come last, which are the slowest: one
# process would then wait for a minute.
test: install
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder \
	    $(PYTEST_ARGS) tests

# A user's images converted and trained on, and cells found in one: half a minute.
smoke: install
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -k finds_cells tests/test_integration/test_own_data.py

demo: install
	test -d $(DATA) || \
	    $(RUN) tools/dataset_converters/synthetic_conic.py $(DATA)
	$(RUN) tools/train.py $(CONFIG) --work-dir $(WORK)
	$(RUN) tools/test.py $(CONFIG) "$$(cat $(WORK)/last_checkpoint)" \
	    --work-dir $(WORK) --out $(WORK)/predictions --show-dir $(WORK)/images
	@echo
	@echo 'metrics         : ' $(WORK)/predictions/metrics.json
	@echo 'overlay images  : ' $(WORK)/images/vis_data/vis_image
	@echo 'QuPath files    : ' $(WORK)/predictions

key:
	@echo $(KEY)
