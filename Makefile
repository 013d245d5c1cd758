# Every target does its own set-up. `make help` lists them.

SHELL   := bash
GO      ?= go
PYTHON  ?= python3
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
CACHE   := $(CURDIR)/.cache
VENV    := $(CACHE)/venv
BENCH   ?= all

export SLUICE_TEST_CACHE ?= $(CACHE)/test

.PHONY: help build demo test check-cross check-go check-python test-go bench fuzz soak clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## bin/sluice and bin/sluice-runner
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/sluice ./cmd/sluice-runner

demo: build ## a scikit-learn model answering over HTTPS under a key
	@SLUICE_BIN="$(CURDIR)/bin" examples/iris/demo.sh

test: build check-go check-cross check-python test-go ## every test and check
	@echo "all checks and tests passed"

check-go: ## gofmt, vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (run gofmt -w):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

check-cross: ## the command line builds for macOS and Windows too
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/sluice
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/sluice-runner
	GOOS=windows CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/sluice

$(VENV)/.ready: requirements-dev.txt
	@mkdir -p $(CACHE)
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

check-python: $(VENV)/.ready ## ruff, mypy --strict, pytest with warnings as errors
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	cd examples && $(VENV)/bin/mypy iris
	$(VENV)/bin/pytest -q

test-go: build ## go test with the race detector
	$(GO) test -race -timeout 40m ./...

bench: build ## side by side with the peers; BENCH=gateway runs one
	$(GO) run ./bench -bin $(CURDIR)/bin $(BENCH)

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME each
	@for dir in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
	  for target in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$dir/*_test.go | sed 's/^func //'); do \
	    echo "== $$dir $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x ./$$dir || exit 1; \
	  done; done

SOAK_TIME ?= 10m
SOAK_SEED ?=
soak: build ## changes, kills and faults at random, SOAK_TIME of each kind, by SOAK_SEED, which is printed
	@for dir in $$(git grep -l '^func TestSoak' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
	  echo "== $$dir"; \
	  SOAK_TIME=$(SOAK_TIME) SOAK_SEED=$(SOAK_SEED) $(GO) test -v -count=1 -timeout 0 -run '^TestSoak' ./$$dir || exit 1; \
	done
	SOAK_TIME=$(SOAK_TIME) SOAK_SEED=$(SOAK_SEED) $(GO) run ./bench -bin $(CURDIR)/bin soak

clean: ## what the other targets made
	rm -rf bin .cache
