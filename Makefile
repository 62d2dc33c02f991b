# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
X_PACKAGES := xvfb libxcb-icccm4 libxcb-keysyms1 libxcb-cursor0 libxkbcommon-x11-0 libegl1 libgl1

.PHONY: demo test lint setup libraries bench docs pictures

demo: setup
	$(BIN)/napari-resunet demo --overwrite

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: libraries $(STAMP)

$(STAMP): pyproject.toml hatch_build.py napari.yaml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e ".[all,test]"
	touch $(STAMP)

# Qt's X libraries, where this is Debian or Ubuntu, they are missing, and we may.
libraries:
	@if [ "$$(uname)" = Linux ] && command -v dpkg >/dev/null && ! dpkg -s $(X_PACKAGES) >/dev/null 2>&1; then \
	  if [ "$$(id -u)" = 0 ]; then SUDO=; elif command -v sudo >/dev/null; then SUDO=sudo; \
	  else echo "Ask an administrator for: apt-get install $(X_PACKAGES)"; exit 0; fi; \
	  $$SUDO apt-get update && $$SUDO apt-get install -y --no-install-recommends $(X_PACKAGES); \
	fi

bench: setup
	$(BIN)/python benchmarks/speed.py

docs: $(VENV)/.docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b html docs docs/_build/html

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install -e ".[docs]"
	touch $@

# The pictures of the docs, from the real dock: a few minutes.
pictures: setup
	xvfb-run -a -s "-screen 0 1280x720x24" $(BIN)/python docs/pictures.py
