# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. `make run` on a bare Debian does everything that is missing first.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

# How long each fuzzer runs, in seconds.
SECONDS ?= 60
RELEASE := build/release
# Where images and OpenCode live: as the daemon finds it (environment, then configuration file).
STATE_DIR ?= $(shell scripts/state_dir.sh)
# Tests and benchmarks take the image and OpenCode from there and keep their own state elsewhere.
export ATOLL_TEST_STATE ?= $(STATE_DIR)

.PHONY: help run setup build deb image opencode criu test bench fmt lint fuzz chaos soak vm clean root

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: root setup build image opencode criu ## Install, build, make the image, then start Atoll
	@exec $(RELEASE)/atoll serve

root:
	@[ "$$(id -u)" -eq 0 ] || { echo "Atoll makes namespaces and mounts, so it needs root: sudo make $(MAKECMDGOALS)"; exit 1; }

setup: ## Install the Debian packages that are missing, raise limits of the kernel that are low
	@scripts/setup.sh build run
	@scripts/raise_limits.sh packaging/atoll.sysctl.conf

build: ## Build atoll and atoll-agent into build/release
	@scripts/build.sh release atoll atoll-agent

deb: build ## Make build/release/package/atoll_<version>_<arch>.deb
	@scripts/package.sh $(RELEASE)

image: ## Make the default sandbox image if there is none, or one that lacks a package
	@rootfs=$(STATE_DIR)/images/default/rootfs; \
	if [ ! -d $$rootfs ]; then $(RELEASE)/atoll image build default; \
	elif ! images/default/build.sh --check $$rootfs; then \
	  $(RELEASE)/atoll image build default --replace || \
	  echo "==> Going on with the image that is there, which lacks packages of this release"; fi

opencode: ## Fetch OpenCode if it is not there
	@scripts/fetch_opencode.sh $(STATE_DIR)

criu: ## Build CRIU if it is not there: OpenCode then goes on from a template instead of booting
	@scripts/build_criu.sh $(STATE_DIR) || echo "==> Going on without CRIU: OpenCode boots in every sandbox"

test: root ## Everything that must hold (STEPS="lint unit e2e setup" for a part)
	@scripts/setup.sh build run test
	@scripts/run_tests.py $(STEPS)

bench: root setup build image opencode criu ## Measure, and write bench/RESULTS.md
	@scripts/setup.sh test bench
	@bench/run.sh $(RELEASE) --write

fmt: ## Format the C++ sources
	@git ls-files -co --exclude-standard '*.cc' '*.h' | xargs clang-format-19 -i

lint: ## Rooms, files, format, clang-tidy, co_await shapes
	@scripts/setup.sh build
	@scripts/build.sh asan
	@scripts/lint.py --build build/asan

fuzz: ## Run each fuzzer for SECONDS (default 60)
	@scripts/build.sh fuzz
	@scripts/run_fuzzers.sh build/fuzz $(SECONDS)

chaos: root setup build image opencode criu ## Kill everything in the middle of things, for MINUTES (default 10), with SEED
	@ATOLL_BUILD_DIR=$(RELEASE) node tests/chaos/chaos.mjs --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(WRITE)

soak: root setup build image opencode ## Use sandboxes again and again, for MINUTES (default 60)
	@ATOLL_TEST_LONG=1 ATOLL_TEST_PROCESSES=100000 scripts/soak.sh $(RELEASE) $(or $(MINUTES),60) \
	  tests/walk.test.mjs tests/routes.test.mjs tests/snapshot.test.mjs tests/processes_many.test.mjs \
	  tests/buckets.test.mjs

vm: root setup build image opencode criu ## Try the package with systemd and cgroup v2, in a virtual machine
	@scripts/setup.sh build test vm
	@tests/vm_test.sh $(RELEASE)

clean: ## Remove what was built
	@rm -rf build
