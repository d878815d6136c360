# SPDX-License-Identifier: Apache-2.0
# Everyday commands; CONTRIBUTING.md says when to use which.

GOLANGCI_LINT_VERSION := v2.12.2
TOOLS := $(CURDIR)/.tools
GENERATED := ':(glob)pkg/dataplane/**/*_bpfel.go' ':(glob)pkg/dataplane/**/*_bpfel.o' ':(glob)pkg/api/**/*.pb.go'

.PHONY: all build test faults test-kernel soak fuzz bench demo generate verify-generate lint clean

all: build

build: ## compile every command into bin/
	go build -o bin/ ./cmd/...

test: ## install what the tests need, then run all of them with the race detector; the table of faults without, because it measures
	./test/prepare test
	WEFT_TEST_REQUIRE=bpf,netns,iperf3,bird,frr go test -race -p 1 -timeout 20m ./...
	WEFT_TEST_REQUIRE=bpf,netns,nft,clang-19 go test -short -run '^TestFaults$$' -timeout 15m ./test

faults: ## the whole table of faults, on one node and on three, with its limits in time
	./test/prepare test
	WEFT_TEST_REQUIRE=bpf,netns,nft,clang-19 go test -run '^TestFaults$$' -timeout 30m -v ./test

test-kernel: ## a stock Debian kernel's own WireGuard and VLAN devices, emulated by qemu
	./test/prepare vm
	WEFT_TEST_REQUIRE=bpf,netns,vm go test -v -run '^TestStockKernel$$' -timeout 15m ./internal/wireguard ./pkg/dataplane/vlan ./internal/trunk

soak: ## random operations and faults for SOAK (1h), CYCLES (10000) times attach and detach, PAIRS (10 million) random packets, twice BFD (10m) sessions of BFD beside busy processors; repeat a failure with the WEFT_TEST_SEED that it logs
	./test/prepare test
	WEFT_TEST_REQUIRE=bpf,netns WEFT_TEST_SOAK=$(or $(SOAK),1h) go test -run '^TestSoak$$' -v -timeout 24h ./test
	WEFT_TEST_REQUIRE=bpf,netns WEFT_TEST_CYCLES=$(or $(CYCLES),10000) go test -run '^TestSoakCycles$$' -v -timeout 24h ./test
	WEFT_TEST_REQUIRE=bpf,netns WEFT_TEST_AGREEMENT=$(or $(PAIRS),10000000) \
		go test -run '^TestAgreement$$' -v -timeout 24h ./pkg/dataplane/lb
	WEFT_TEST_REQUIRE=netns WEFT_TEST_SOAK=$(or $(BFD),10m) go test -run '^TestSoak$$' -v -timeout 24h ./internal/bfd/bfdnet

fuzz: ## fuzz every fuzz target for FUZZTIME (default 30s) each
	./test/fuzz $(or $(FUZZTIME),30s)

bench: ## the figures of the README's performance section
	go test -run '^$$' -bench . ./pkg/dataplane/lb ./internal/maglev
	go test -run '^$$' -bench Program ./pkg/dataplane/xconnect ./pkg/dataplane/vlan
	go test -run '^$$' -bench Tag -benchtime 20000x ./pkg/dataplane/vlan
	go test -run '^$$' -bench TCP -benchtime 150x ./internal/trunk
	go test -run '^$$' -bench 'TCP|UDP' -benchtime 150x ./pkg/dataplane/xconnect
	go test -run '^$$' -bench Tunnel -benchtime 60x ./pkg/dataplane/xconnect
	go test -run '^$$' -bench Attach -benchtime 1000x ./internal/app/agent

demo: ## the main job, end to end
	go run ./cmd/weft demo

generate: ## compile the BPF programs (clang-19) and the protobuf files
	./test/prepare generate
	go generate ./pkg/...

verify-generate: generate ## fail when the committed generated files are not what the sources make
	git diff --exit-code --stat -- $(GENERATED)

lint: ## golangci-lint with the layer rules of .golangci.yml
	test -x $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION) || ( \
		GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION) && \
		mv $(TOOLS)/golangci-lint $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION) )
	GOLANGCI_LINT_CACHE=$(TOOLS)/cache $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION) run ./... # one cache for all checkouts mixes their paths up

clean:
	rm -rf bin $(TOOLS)
