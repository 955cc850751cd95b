# `make demo` and `make test`: all that a fresh machine with Python 3.11 and make needs.
# `make docs` builds the documentation.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# With an NVIDIA GPU, FAISS for GPUs is installed instead of FAISS for CPUs (for `bootstrap.exact`).
EXTRA := $(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo gpu || echo cpu)
VENV := .venv
INSTALLED := $(VENV)/installed-$(EXTRA)
# Two processes, each of which runs whole files of tests, so that fixtures are made only once.
PARALLEL := --numprocesses 2 --dist loadfile
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: demo docs test test-fast test-gpu test-slurm check install clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml envs/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --retries 10 --timeout 60 --constraint envs/constraints.txt --editable '.[$(EXTRA),dev]'
	touch $@

# The whole loop on the embedded data; then prints where the results are, and the mask quality.
demo: $(INSTALLED)
	@told="$$($(RUN) cyborgs hardware)" && echo "$$told" && echo && case "$$told" in \
	*"CPU with"*"bfloat16 in training"*) echo "On two such cores the demo takes about 4 minutes." ;; \
	*"CPU with"*) echo "On two such cores the demo takes about 7 minutes." ;; \
	*) echo "The demo has not been timed on a GPU; expect a few minutes, most of them on the CPU." ;; \
	esac && echo
	$(RUN) snakemake --cores all
	@echo
	@echo "Backbone:      results/demo/backbone.pth (a torchvision state dict)"
	@echo "Report:        results/demo/report.html (open it in a browser)"
	@echo "Masks:         results/demo/masks/round-*/shard-*.h5"
	@echo "               .venv/bin/cyborgs masks show results/demo 17 --out image-17.png"
	@echo "Logs:          results/demo/logs/"
	@echo "Mask quality:  results/demo/quality.tsv"
	@echo
	@cat results/demo/logs/quality/table.log

# The site.  A broken link fails the build (do not use --quiet, which hides these warnings).
docs: $(INSTALLED)
	$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs build
	@echo "Documentation: site/index.html (its search needs a server: .venv/bin/mkdocs serve)"

# Lint, types, format, workflow, documentation, then all tests; `test-fast` leaves the slow ones out.
test: check
	$(RUN) python -m pytest $(PARALLEL)

test-fast: check
	$(RUN) python -m pytest $(PARALLEL) -m "not slow"

# What only a GPU can show; skipped where there is none.  `tests/gpu/run.sh` measures as well.
test-gpu: $(INSTALLED)
	$(RUN) python -m pytest tests/gpu -rs

# On a SLURM of two nodes, which this starts and stops: needs root on Debian or Ubuntu, and half an
# hour; `make test-slurm ONLY=cancelled` for those with that in their names.
test-slurm: $(INSTALLED)
	$(RUN) python -m pytest tests/slurm -m slurm $(if $(ONLY),-k "$(ONLY)") --durations=0

check: $(INSTALLED) docs
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check workflow
	$(RUN) mypy
	$(RUN) hadolint Dockerfile
	$(RUN) snakemake --lint
	$(RUN) snakemake --dry-run --quiet all --cores 1

clean:
	rm -rf $(VENV) results site .snakemake
