# devmodel from a checkout: `make demo` shows it, `make test` tests it.
#
# The only thing that is looked for on this machine is Python 3.11 with venv; on Debian and its like
# it is installed if it is missing. Compiler, kernel, QEMU and whatever else guests are built and
# booted with are fetched by devmodel itself into ~/.cache/devmodel, without root.

PYTHON ?= python3
VENV := .venv
# Empty for root.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test hmm-tests docs wheel install python clean

demo: install
	$(VENV)/bin/devmodel demo

# A process for each processor: guests of more VMs than that wait for each other's locks.
SIDE_BY_SIDE := -n auto --maxprocesses=4 --dist=loadgroup --no-loadscope-reorder

# ARGS='-k name' picks tests. KERNELS=7.3,debug tests those kernels too (`devmodel kernels` names
# them); it fetches or builds them first. KERNELS=all is all of them, and takes an hour or two.
# ON=debug has every test that is about no other kernel boot that one. LONG=1 has those that find
# more the longer they go on (random operations, restarts) go on for longer: half an hour and more.
test: $(VENV)/tests
	$(if $(KERNELS),DEVMODEL_KERNELS=$(KERNELS)) $(if $(ON),DEVMODEL_ON=$(ON)) \
		$(if $(LONG),DEVMODEL_LONG=1) $(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

# KERNEL=6.1-own for another kernel, KERNEL=PATH for another kernel tree.
hmm-tests: install
	$(VENV)/bin/devmodel hmm-tests $(if $(KERNEL),--kernel $(KERNEL))

# docs/_build/index.html; no network is needed once Sphinx is installed.
docs: $(VENV)/docs
	$(VENV)/bin/python -m sphinx -W -n -q -b html docs docs/_build

# dist/*.whl, which works from anywhere; the same input gives the same bytes.
wheel: $(VENV)/tests
	$(VENV)/bin/python -m build --outdir dist

install: $(VENV)/installed

# Installs Python's venv where apt can and it is missing, and touches nothing else.
python:
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		command -v apt-get >/dev/null || \
			{ echo 'devmodel needs Python 3.11 or newer with venv; set PYTHON=...'; exit 2; }; \
		echo 'installing python3-venv'; \
		$(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive \
			$(SUDO) apt-get install -y -q --no-install-recommends python3 python3-venv; }

$(VENV)/installed: pyproject.toml | python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'devmodel needs Python 3.11 or newer; set PYTHON=...'; exit 2; }
	@echo 'making $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/tests: $(VENV)/installed
	@echo 'installing what the tests need into $(VENV)'
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

$(VENV)/docs: $(VENV)/installed
	@echo 'installing what the documentation needs into $(VENV)'
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

# The caches of kernels and VMs are not in here: `devmodel cache`.
clean:
	rm -rf $(VENV) dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
