# make setup   a virtual environment in .venv with everything for the CPU
# make demo    compose the digits data set, train RetinaNet on it, evaluate
# make test    the tests
# make lint    ruff
# make lock    renew requirements.txt from requirements.in

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint lock clean

setup: $(VENV)/.complete

$(VENV)/.complete: requirements.txt setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info < (3, 14))' || \
		{ echo "Paddle has packages for Python 3.9 to 3.13, but this is: $$($(PYTHON) --version 2>&1)."; \
		  echo "Choose another one: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --no-deps --only-binary :all: -r requirements.txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
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
	rm -rf $(VENV) build dist *.egg-info
