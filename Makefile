# One command each: `make book` renders the book, `make test` runs every check.
# A first run makes .venv from the pins in requirements.txt; later runs find it there. With PYTHON=..., .venv is made
# anew where it has another Python.

PYTHON ?= python3
PORT ?= 8000
TOWN ?= data/tiny_town
LARGE_TOWN ?= data/tiny_town_large

BIN := .venv/bin
READY := .venv/.ready
VERSION := -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null
ifneq ($(origin PYTHON), file)  # asked for, on the command line or in the environment
  HAVE := $(shell test ! -e $(BIN)/python || $(BIN)/python $(VERSION))
  ifneq ($(or $(HAVE),none), $(shell $(PYTHON) $(VERSION) || echo missing))
    OTHER := other-python
  endif
endif
SITE := _build/html

.DEFAULT_GOAL := help
.PHONY: help book pdf slides serve test lint bench nano mini deformable_nano mini_panoptic translator clean other-python

help:  ## show this list
	@echo "Usage: make TARGET [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Built afresh each time: a page that is not read again cannot warn again. Slides lead to the book and may stay.
book: $(READY)  ## render the book to _build/html
	@rm -rf $(filter-out _build/slides, $(wildcard _build/* _build/.[!.]*))
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo
	@echo "The book is in $(SITE). Open file://$(CURDIR)/$(SITE)/index.html"
	@echo "or run \"make serve\" and open http://127.0.0.1:$(PORT)/"

pdf: book  ## print the whole book to _build/detr_mini.pdf (with Chromium; CHROMIUM=/path names it)
	@$(BIN)/python tools/pdf.py

slides: $(READY)  ## make slides for three sessions of the guide, in _build/slides
	@$(BIN)/python tools/slides.py
	@echo "The slides are in _build/slides. Open file://$(CURDIR)/_build/slides/index.html"
	@test -f $(SITE)/index.html || echo "Their links to the chapters need the rendered book: make book"

serve: $(READY)  ## serve the rendered book on this machine (PORT=8000)
	@test -f $(SITE)/index.html || $(MAKE) --no-print-directory book
	@echo "The book is at http://127.0.0.1:$(PORT)/ (stop with Ctrl+C)"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(SITE) $(PORT)

test: lint  ## lint, types, tests, and every notebook against its stored outputs
	$(BIN)/python -m pytest -n 2 -m "not browser"
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval book/

lint: $(READY)  ## ruff and mypy; of the JavaScript, ESLint and tsc, where there is Node
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/lint_js.py

bench: $(READY)  ## measure against Hugging Face and plain forms, into benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

nano: $(READY) $(TOWN)  ## train the smaller shipped model (a quarter of an hour)
	$(BIN)/python -m detr_mini train --data $(TOWN) --config nano --out runs/nano

# On one thread, so that any number of cores gives the same weights; a stopped run is gone on with.
mini: $(READY) $(LARGE_TOWN)  ## train the larger one and keep what it saw on the way (two hours)
	OMP_NUM_THREADS=1 $(BIN)/python tools/watch_training.py mini --data $(LARGE_TOWN) --out runs/mini --workers 1 --resume

# On one thread, too, and so is the translator.
deformable_nano: $(READY) $(TOWN)  ## train the Deformable DETR of nano's size (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m detr_mini train --data $(TOWN) --config deformable_nano --out runs/deformable_nano --workers 1 --resume

# First the detector learns stuff beside its things, then the mask head learns on it, which changes it no more.
mini_panoptic: $(READY) $(TOWN)  ## teach mini stuff and masks (an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m detr_mini train --panoptic --data $(TOWN) --weights mini --recipe mini_panoptic_detector --out runs/mini_panoptic/detector --workers 1 --resume
	OMP_NUM_THREADS=1 $(BIN)/python -m detr_mini train --panoptic --data $(TOWN) --weights runs/mini_panoptic/detector/model.safetensors --set config.masks=true --recipe mini_panoptic_masks --out runs/mini_panoptic/masks --workers 1 --resume

translator: $(READY)  ## train the Transformer of 2017 on Tiny Town's sentences (under ten minutes)
	$(BIN)/python -m detr_mini.training.translator --out runs/translator

$(TOWN): | $(READY)
	$(BIN)/python -m detr_mini make-data $@

$(LARGE_TOWN): | $(READY)
	$(BIN)/python -m detr_mini make-data $@ --train 36000

clean:  ## remove what was built; .venv, data and runs stay
	rm -rf _build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +

other-python:
	@test -z "$(HAVE)" || echo "There is a .venv with Python $(HAVE); it makes room for one with $$($(PYTHON) --version 2>&1)."

$(READY): requirements.txt pyproject.toml $(OTHER)
	@command -v $(PYTHON) > /dev/null || { \
	  echo "There is no '$(PYTHON)' here. Install Python 3.11, 3.12 or 3.13, or name yours:" >&2; \
	  echo "  make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "This needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another:" >&2; \
	  echo "  make PYTHON=python3.12" >&2; exit 1; }
	@test -z "$(OTHER)" && $(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { \
	  echo "No virtual environment could be made. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Installing the pinned packages into .venv: a few minutes and 7 GB the first time."
	$(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off -r requirements.txt
	@touch $@
