# Needs make, a Python of at least 3.11 and a package index; each target makes .venv as it needs it.
# Another interpreter: make demo PYTHON=/path/to/python

PYTHON ?= python3.13 python3.12 python3.11 python3
IN := .venv/bin/python

.PHONY: help demo gallery docs test lint bench gate clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train on a small data set and show what the library does (a minute)"
	@echo "make gallery run every example in full and write docs/gallery.md (MNIST in \$$FONIO_DATA)"
	@echo "make docs    build the site, build/site/index.html, which needs no internet"
	@echo "make test    the whole test suite"
	@echo "make lint    ruff check, ruff format --check, pyright"
	@echo "make bench   measure every kernel against the machine and its peers"
	@echo "make gate    compare a dozen key workloads with the commit before"
	@echo "make clean   remove .venv and all that was built"

demo: .venv/core
	$(IN) examples/demo.py

gallery: .venv/dev
	$(IN) examples/make_gallery.py

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(IN) -m mkdocs build --quiet
	@echo "build/site/index.html: open it, or $(IN) -m http.server --directory build/site"

test: .venv/dev
	$(IN) -m pytest --numprocesses auto --dist loadgroup

lint: .venv/dev
	$(IN) -m ruff check .
	$(IN) -m ruff format --check .
	$(IN) -m pyright

bench: .venv/dev
	$(IN) -m bench run
	$(IN) -m pytest tests/perf --benchmark-enable --benchmark-only --benchmark-sort=fullname \
		--benchmark-columns=min,median,iqr,rounds

gate: .venv/dev
	$(IN) -m bench gate

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: set-up happens once, and again when pyproject.toml changes.
.venv/core: pyproject.toml
	@$(make_environment)
	$(IN) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/docs: pyproject.toml
	@$(make_environment)
	$(IN) -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	@touch .venv/core $@

.venv/dev: pyproject.toml
	@$(make_environment)
	$(IN) -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch .venv/core .venv/docs $@

# Takes the first interpreter that is new enough and can make an environment (Debian's cannot, without
# python3-venv); an environment that lacks pip or is too old, as an interrupted run leaves one, is made again.
SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))
define make_environment
if $(IN) -c '$(SUITABLE)' 2>/dev/null && $(IN) -c 'import pip' 2>/dev/null; then exit 0; fi; \
old= bare=; \
for python in $(PYTHON); do \
	"$$python" -c '' 2>/dev/null || continue; \
	if ! "$$python" -c '$(SUITABLE)'; then old="$$old $$python"; continue; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then bare="$$bare $$python"; continue; fi; \
	echo "making .venv with $$("$$python" -V)"; \
	exec "$$python" -m venv --clear .venv; \
done; \
if [ -n "$$bare" ]; then \
	echo "fonio:$$bare cannot make virtual environments: install its venv package" >&2; \
	echo "(Debian, Ubuntu: apt-get install python3-venv), or name another: make PYTHON=..." >&2; \
elif [ -n "$$old" ]; then \
	echo "fonio needs Python 3.11 to 3.14; too old or too new:$$old. Name another: make PYTHON=..." >&2; \
else \
	echo "fonio needs Python 3.11 to 3.14, and found none of: $(PYTHON). Name one: make PYTHON=..." >&2; \
fi; \
exit 1
endef
