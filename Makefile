# Palomar's verbs. Each does its own set-up; `make help` lists them.
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate
LOCK_IMAGE := $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.13 \
	--python-platform aarch64-manylinux_2_28 --no-header --no-annotate

help:   ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run:    ## start the demo: unprivileged, loopback only, data in ./data; Ctrl-C stops it
	@tools/setup run && exec $(BIN)/palomar run --demo

# Most of a test's time is waiting, so two processes run them; what shares an appliance is in one file, and stays together.
test:   ## install what the tests need, then run them all
	@tools/setup test && exec $(BIN)/pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

check:  ## what a change must pass before its tests: lint, format, types, import contracts
	@tools/setup check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict appliance plugins hw image
	$(BIN)/lint-imports

bench:  ## measure side by side with Postfix and Dovecot, into build/bench.json (LARGE=1: mailboxes of 100,000)
	@tools/setup bench && exec $(BIN)/python -m tests.bench $(if $(LARGE),--messages 100000 --rows "imap-|pop3-")

bench-spam: ## measure how well filters tell spam (HAM=… SPAM=…: folders or mbox of yours, else the public corpus)
	@tools/setup bench && exec $(BIN)/python -m tests.bench.spam $(if $(HAM),--ham $(HAM) --spam $(SPAM))

image:  ## make the SD-card image in build/ (FRESH=1: with Debian's newest packages); steps without news are kept
	@tools/setup image && exec $(BIN)/python -m image.build $(if $(FRESH),--fresh)

test-image: image ## start that very image in QEMU and send mail through it (ONLY=FILE; CUTS=1000 for more power cuts)
	exec $(BIN)/pytest -m image $(or $(ONLY),tests/image/guest)

docs:   ## make docs/settings.md and docs/hooks.md anew from the code
	@tools/setup check
	$(BIN)/palomar config --document > docs/settings.md
	$(BIN)/palomar hooks --document > docs/hooks.md

lock:   ## resolve the dependencies anew into the three lock files
	@tools/setup check && $(BIN)/python -m pip install --quiet uv
	$(LOCK) pyproject.toml --extra pretty --extra hw --extra ntlm --extra pdf --extra re2 --group build -o requirements.lock
	$(LOCK) pyproject.toml --extra pretty --extra hw --extra ntlm --extra pdf --extra re2 --group dev -o requirements-dev.lock
	$(LOCK_IMAGE) pyproject.toml --extra hw --extra ntlm --extra pdf --extra re2 -o requirements-image.lock

.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-spam image test-image docs lock
