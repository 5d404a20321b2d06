# make setup      a virtual environment in .venv with everything for the CPU, and the native library if there is a compiler
# make demo       compose the digits data set, train RetinaNet on it, evaluate
# make test       the tests: every behaviour once
# make test-all   and what takes long: twenty kills, builds, sanitizers, whole trainings, fuzzing at length, Paddle 2.6,
#                 the losses of other systems, and the documentation
# make docs       the documentation, in docs/_build; warnings are errors
# make lint       ruff, mypy, and what the C++ compiler warns of
# make wheel      dist/: a wheel with the native library for every Python and Paddle, and the sdist; needs nvcc
# make lock       renew requirements.txt and requirements-docs.txt from their .in files
#
# make test-slow, make test-paddle2.6 (in .venv-paddle2.6), make test-systems (in .venv-systems)   parts of test-all
# WORKERS=4       how many tests run at a time

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PYTEST := python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

# The tests of what cannot depend on Paddle, or only takes longer there, are not repeated on Paddle 2.6.
NOT_ON_PADDLE_2.6 := $(addprefix --ignore=tests/,csrc docs support engine/test_faults.py)
NOT_ON_PADDLE_2.6 += --deselect tests/test_build_command.py::TestCommand::test_build
NOT_ON_PADDLE_2.6 += --deselect tests/cli/test_packaging.py::test_wheel_with_the_library

.PHONY: setup demo test test-all test-slow test-paddle2.6 test-systems docs wheel lint lock clean
.SECONDARY:

setup: $(VENV)/.complete

# PADDLE_FOCAL_BUILD=0 leaves the native library out, =1 insists on it. The operator for static graphs needs it.
%/.complete: %/.packages setup.py pyproject.toml paddle_focal/build.py $(wildcard paddle_focal/csrc/*.* paddle_focal/csrc/*/*)
	$*/bin/python -m pip install --no-deps --no-build-isolation -e .
	if [ -e paddle_focal/libpaddle_focal.so ]; then $*/bin/python -W ignore -m paddle_focal.build --operator; fi
	$*/bin/python -W ignore -m paddle_focal backend
	touch $@

%/.packages: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info < (3, $(NEWEST) + 1))' || \
		{ echo "Paddle has packages for Python 3.9 to 3.$(NEWEST), but this is: $$($(PYTHON) --version 2>&1)."; \
		  echo "Choose another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $*
	$(REQUIREMENTS) | $*/bin/python -m pip install $(DEPENDENCIES) --only-binary :all: -r /dev/stdin
	touch $@

%/.packages: DEPENDENCIES = --no-deps
$(VENV)/.packages: NEWEST = 13
$(VENV)/.packages: REQUIREMENTS = cat requirements.txt
$(VENV)-paddle2.6/.packages: requirements-paddle2.6.txt
$(VENV)-paddle2.6/.packages: NEWEST = 12
$(VENV)-paddle2.6/.packages: REQUIREMENTS = grep -v ^paddlepaddle== requirements.txt | cat - requirements-paddle2.6.txt
$(VENV)-systems/.packages: requirements-systems.txt
$(VENV)-systems/.packages: NEWEST = 13
$(VENV)-systems/.packages: DEPENDENCIES =
$(VENV)-systems/.packages: REQUIREMENTS = grep ^paddlepaddle== requirements.txt | cat - requirements-systems.txt

demo: setup dataset/digits
	$(BIN)/python tools/train.py -c configs/retinanet_r18_fpn_digits.yml

dataset/digits: | setup
	$(BIN)/python tools/make_digits.py --output $@

test: setup
	$(BIN)/$(PYTEST)

# The other systems have no packages for Python 3.9 and 3.10.
test-all: test test-slow test-paddle2.6 docs $(shell $(PYTHON) -c 'import sys; print("test-systems" * (sys.version_info >= (3, 11)))')

test-slow: setup
	$(BIN)/$(PYTEST) --dist=loadfile -m slow
	PADDLE_FOCAL_FUZZ=300 $(BIN)/$(PYTEST) --hypothesis-seed=0 tests/losses/test_fuzz.py tests/data/test_agreement.py

test-paddle2.6: $(VENV)-paddle2.6/.complete
	$(VENV)-paddle2.6/bin/$(PYTEST) -m "not large" $(NOT_ON_PADDLE_2.6)

test-systems: setup $(VENV)-systems/.packages
	$(VENV)-systems/bin/python -m pytest tests/systems

docs: $(VENV)-docs/.complete
	$(VENV)-docs/bin/python -m sphinx -W --keep-going -n -q docs docs/_build

# Sphinx on its own, beside what is in .venv, which the reference is made of.
$(VENV)-docs/.complete: requirements-docs.txt | setup
	$(BIN)/python -m venv --clear $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --no-deps --only-binary :all: -r requirements-docs.txt
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > \
		$$($(VENV)-docs/bin/python -c 'import site; print(site.getsitepackages()[0])')/beside.pth
	touch $@

# Its symbols are those of glibc 2.17, which a test looks at: CentOS 7, Ubuntu 18.04 and all later ones.
wheel: setup
	rm -rf build dist
	PADDLE_FOCAL_BUILD=1 PADDLE_FOCAL_CUDA=$${PADDLE_FOCAL_CUDA-1} $(BIN)/python -W ignore setup.py -q bdist_wheel --plat-name manylinux_2_17_$$(uname -m) sdist

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -W ignore -m paddle_focal.build --check

lock: setup
	$(BIN)/python -m pip install uv
	for name in requirements requirements-docs; do \
		$(BIN)/uv pip compile --universal --python-version 3.9 --no-header --no-annotate --only-binary :all: \
			--no-python-downloads --upgrade $$name.in -o $$name.txt || exit; \
	done

clean:
	rm -rf $(VENV) $(VENV)-paddle2.6 $(VENV)-systems $(VENV)-docs docs/_build build dist *.egg-info paddle_focal/*.so paddle_focal/*.fatbin
