# slipway: "make demo" to see it, "make test" to prove it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED := 0
export PATH := $(PATH):/usr/local/go/bin

BIN := $(CURDIR)/bin
TOOLS := $(BIN)/tools
REPORTS := $(BIN)/reports

# The commit goes into the binaries where git can tell it.
VCS := $(shell git status >/dev/null 2>&1 && echo true || echo false)
GO_BUILD := go build -trimpath -buildvcs=$(VCS) -ldflags '-s -w'

# Packages that are tested with the race detector: those that start no process
# by hand. A race build uses cgo, which the others must never see.
RACE := ./cni/... ./conf/... ./imagestore/... ./oci/... ./sandbox/logfile/... ./sandbox/seccomp/... ./sandbox/wire/... ./server/...

FUZZTIME ?= 30s
KILLS ?= 200
STEPS ?= 100000
SESSIONS ?= 10000
CRITEST_FLAGS ?=
KUBELET ?=
DEMO_FLAGS ?=

.PHONY: help
help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/slipway and bin/slipway-keeper
	$(GO_BUILD) -o $(BIN)/slipway-keeper ./cmd/slipway-keeper
	$(GO_BUILD) -o $(BIN)/slipway ./cmd/slipway

.PHONY: demo
demo: ## install, build, and run a pod from nothing to nothing
	@hack/install.sh demo
	@$(MAKE) --no-print-directory build cni
	@go build -trimpath -ldflags '-s -w' -o $(BIN)/demo-app ./hack/demo/app
	@go build -trimpath -o $(BIN)/demo ./hack/demo
	@$(BIN)/demo $(DEMO_FLAGS)

.PHONY: test
test: deps ## install what is missing, check, and run every test (as root)
	@start=$$SECONDS; \
	$(MAKE) --no-print-directory check build; \
	$(MAKE) --no-print-directory unit race integration critest; \
	echo "make test: everything passed in $$((SECONDS - start)) s"

.PHONY: deps
deps: ## install Debian packages and fetch what the tests need
	@hack/install.sh test

.PHONY: check
check: $(TOOLS)/.light ## format, vet, staticcheck, arm64, shell scripts, house rules
	@echo "check"
	@hack/check.sh

.PHONY: unit
unit: $(TOOLS)/.light ## tests beside the code
	@mkdir -p $(REPORTS)
	$(TOOLS)/gotestsum --format pkgname --junitfile $(REPORTS)/unit.xml -- -timeout 10m \
	  $$(go list ./... | grep -vE '/test/(bench|cri|crash|house)')
	go test -tags libseccomp -count=1 ./sandbox/seccomp

.PHONY: race
race: $(TOOLS)/.light ## the same with the race detector, where that makes sense
	@mkdir -p $(REPORTS)
	CGO_ENABLED=1 $(TOOLS)/gotestsum --format pkgname --junitfile $(REPORTS)/race.xml -- -race -timeout 10m \
	  $$(go list $(RACE) 2>/dev/null)

.PHONY: integration
integration: $(TOOLS)/.light build cni ## client tests against a real daemon, and a short run of crash
	@mkdir -p $(REPORTS)
	$(TOOLS)/gotestsum --format testname --junitfile $(REPORTS)/integration.xml -- -count=1 -p 1 -timeout 15m ./test/bench ./test/cri/... ./test/crash

.PHONY: crash
crash: $(TOOLS)/.light build cni ## kill at every step and KILLS times (200) at random, fail every step
	@mkdir -p $(REPORTS)
	SLIPWAY_CRASH_KILLS=$(KILLS) SLIPWAY_CRASH_STEPS=$(STEPS) SLIPWAY_CRASH_FAULTS=$(STEPS) $(TOOLS)/gotestsum --format standard-verbose --junitfile $(REPORTS)/crash.xml -- -count=1 -timeout 60m ./test/crash

.PHONY: critest
critest: $(TOOLS)/.critest build cni ## upstream CRI conformance (CRITEST_FLAGS: see go run ./test/cri/critest -h)
	@mkdir -p $(REPORTS)
	go build -trimpath -o $(BIN)/run-critest ./test/cri/critest
	$(BIN)/run-critest -report $(REPORTS)/critest.json $(CRITEST_FLAGS)

.PHONY: sessions
sessions: $(TOOLS)/.light build cni ## open SESSIONS (10000) sessions of exec, attach and port-forward
	SLIPWAY_SESSIONS=$(SESSIONS) $(TOOLS)/gotestsum --format standard-verbose -- -count=1 -timeout 60m -run TestManySessions ./test/cri

.PHONY: node
node: $(TOOLS)/.light build cni ## a real kubelet runs pods on slipway (KUBELET: its program, 1.36 or later)
	@mkdir -p $(REPORTS)
	@[[ -x "$(KUBELET)" ]] || { echo "make node KUBELET=/path/to/kubelet" >&2; exit 2; }
	SLIPWAY_KUBELET=$(abspath $(KUBELET)) $(TOOLS)/gotestsum --format testname --junitfile $(REPORTS)/node.xml -- -count=1 -timeout 20m ./test/node/kubelet

.PHONY: bench
bench: build cni ## Go benchmarks; with CRIBENCH=FILE PEER=unix://SOCKET the table beside that runtime (see hack/bench.sh)
	@hack/bench.sh

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@hack/fuzz.sh $(FUZZTIME)

.PHONY: tools
tools: $(TOOLS)/.light $(TOOLS)/.critest $(TOOLS)/crictl cni ## pinned tools into bin/tools (crictl too), plugins into bin/cni

.PHONY: cni
cni: $(BIN)/cni/.built ## the reference CNI plugins, into bin/cni
	@:

.PHONY: fmt
fmt: $(TOOLS)/.light ## format the code
	git ls-files -co --exclude-standard '*.go' ':!*.pb.go' | xargs -r $(TOOLS)/gofumpt -w

.PHONY: clean
clean: ## remove everything that was built
	rm -rf $(BIN)

# Tools are pinned in hack/tools, in three modules because their dependencies
# disagree. A stamp file each: built again when the pins change.

$(TOOLS)/.light: hack/tools/go.mod hack/tools/go.sum
	@echo "building staticcheck, gofumpt, gotestsum"
	@cd hack/tools && GOBIN=$(TOOLS) go install tool
	@touch $@

$(TOOLS)/crictl: hack/tools/cri/go.mod hack/tools/cri/go.sum
	@echo "building crictl"
	@cd hack/tools/cri && GOBIN=$(TOOLS) go install -trimpath -ldflags '-s -w' sigs.k8s.io/cri-tools/cmd/crictl
	@touch $@

# critest is a test binary; run in parallel it calls ginkgo.
$(TOOLS)/.critest: hack/tools/cri/go.mod hack/tools/cri/go.sum
	@echo "building critest"
	@cd hack/tools/cri && GOBIN=$(TOOLS) go install -trimpath github.com/onsi/ginkgo/v2/ginkgo
	@cd hack/tools/cri && go test -c -trimpath \
	  -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$$(go list -m -f '{{.Version}}' sigs.k8s.io/cri-tools)" \
	  -o $(TOOLS)/critest sigs.k8s.io/cri-tools/cmd/critest
	@touch $@

$(BIN)/cni/.built: hack/tools/cni/go.mod hack/tools/cni/go.sum
	@echo "building the CNI plugins"
	@cd hack/tools/cni && GOBIN=$(BIN)/cni go install -trimpath -ldflags '-s -w' tool
	@touch $@
