# devmodel on Debian 12, from nothing: `make demo` shows it, `make test` tests it.

PYTHON ?= python3
VENV := .venv
PACKAGES := $(shell sed 's/\#.*//' guest/packages.txt)
# Empty for root.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test hmm-tests install packages clean

demo: install
	$(VENV)/bin/devmodel demo
	@echo 'what devmodel compare boots besides, built now if it is not there yet:'
	@$(VENV)/bin/devmodel build cdm

# ARGS='-k name' picks tests. KERNELS=7.2,debug tests those kernels too, and not only the default
# one and those that are built already; it downloads and builds them, which takes longer than the
# tests. KERNELS=all is all of them.
test: install
	$(if $(KERNELS),DEVMODEL_KERNELS=$(KERNELS)) $(VENV)/bin/python -m pytest $(ARGS)

# KERNEL=7.2 for another kernel series, KERNEL=PATH for another kernel tree.
hmm-tests: install
	$(VENV)/bin/devmodel hmm-tests $(if $(KERNEL),--kernel $(KERNEL))

install: packages $(VENV)/installed

# Installs what is missing and touches nothing else. Elsewhere than on Debian, `devmodel doctor`
# says what is missing.
packages:
	@command -v dpkg-query >/dev/null || { echo 'no dpkg here: packages are left to you'; exit 0; }; \
	missing=; for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || \
			missing="$$missing $$package"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	echo "installing$$missing"; \
	$(SUDO) apt-get update -q && \
	DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends $$missing

$(VENV)/installed: pyproject.toml | packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'devmodel needs Python 3.11 or newer; set PYTHON=...'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

# The caches of kernels and VMs are not in here: ~/.cache/devmodel, ~/.local/state/devmodel.
clean:
	rm -rf $(VENV) devmodel.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
