# SPDX-License-Identifier: Apache-2.0
# Each target does its own set-up; tools/setup.sh says in one line what it changed.

PYTHON ?= python3
PYTEST_ARGS ?=

CACHE ?= /var/tmp/wherry-cleanroom

VENV := .venv
BIN := $(VENV)/bin
SETUP := tools/setup.sh
export PYTHON VENV

# What the tests start beside wherry, as PACKAGE=PROGRAM or PACKAGE=FILE: a package is wanted where
# its program or file is missing. An empty list goes on without; the tests then skip by name.
TEST_PACKAGES ?= \
	skopeo=skopeo umoci=umoci busybox-static=busybox xz-utils=xz runc=runc crun=crun uidmap=newuidmap util-linux=unshare git=git \
	ca-certificates=/etc/ssl/certs/ca-certificates.crt gcc=gcc libc6-dev=/usr/include/stdio.h \
	iproute2=ip pigz=pigz docker-registry=docker-registry apache2-utils=htpasswd openssl=openssl \
	openssh-client=ssh-agent libcap2-bin=getcap musl-tools=musl-gcc binutils=objdump tmux=tmux zsh=zsh
export TEST_PACKAGES

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak cleanroom lock venv clean
.NOTPARALLEL:

help:
	@echo 'wherry: small container images for Go programs'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1@\2/p' Makefile | while IFS=@ read -r name text; \
		do printf '%-18s%s\n' "$$name" "$$text"; done

demo: ## see it work: build examples/movies, start it, ask it for /movies
	@$(SETUP) run go -- $(BIN)/python examples/demo.py

test: ## before every commit: make check, then all tests
	@$(SETUP) packages dev go
	@$(MAKE) --no-print-directory check
	@$(SETUP) dev go -- $(BIN)/python -m pytest -n 2 -ra -m "not soak" $(PYTEST_ARGS)

check: ## while you write: lint, format, types, layering
	@$(SETUP) dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/python -m pytest -q tests/test_layering.py

bench: ## after a change that may cost time: measure beside go build and ko
	@$(SETUP) dev go -- $(BIN)/python -m bench

soak: ## before a release: the tests that run once or long
	@$(SETUP) packages dev go -- $(BIN)/python -m pytest -ra -m soak $(PYTEST_ARGS)

cleanroom: ## before a release, as root: make demo and make test on a fresh Debian (CACHE=DIR)
	tests/cleanroom/run.sh --as root $(CACHE)
	tests/cleanroom/run.sh --as user $(CACHE)
	tests/cleanroom/run.sh --as refused $(CACHE)

lock: ## after a change of dependencies: write locks/ again (UPGRADE=1 for new versions)
	@$(SETUP) venv
	@tools/lock.sh $(if $(UPGRADE),--upgrade)

venv: ## for your editor: .venv with all that development needs
	@$(SETUP) dev

clean: ## remove what make has made, but not measurements
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
