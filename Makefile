# make setup   a virtual environment in .venv with everything for the CPU, and the native operator if there is a compiler
# make demo    compose the digits data set, train RetinaNet on it, evaluate
# make test    the tests
# make lint    ruff
# make lock    renew requirements.txt from requirements.in

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint lock clean

setup: $(VENV)/.complete

# The native operator is compiled for the Paddle just installed; PADDLE_FOCAL_BUILD=0 leaves it out, =1 insists on it.
$(VENV)/.complete: $(VENV)/.packages setup.py pyproject.toml paddle_focal/build.py $(wildcard paddle_focal/csrc/*)
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	$(BIN)/python -W ignore -m paddle_focal
	touch $@

$(VENV)/.packages: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info < (3, 14))' || \
		{ echo "Paddle has packages for Python 3.9 to 3.13, but this is: $$($(PYTHON) --version 2>&1)."; \
		  echo "Choose another one: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --no-deps --only-binary :all: -r requirements.txt
	touch $@

demo: setup dataset/digits
	$(BIN)/python tools/train.py -c configs/retinanet_r18_fpn_digits.yml

dataset/digits: | setup
	$(BIN)/python tools/make_digits.py --output $@

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: setup
	$(BIN)/python -m pip install uv
	$(BIN)/uv pip compile --universal --python-version 3.9 --no-header --no-annotate --only-binary :all: \
		--no-python-downloads --upgrade requirements.in -o requirements.txt

clean:
	rm -rf $(VENV) build dist *.egg-info paddle_focal/*.so
