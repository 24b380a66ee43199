STATES ?= 100000
SEED ?= 1
ROUNDS ?= 20
OPS ?= 1000000
FUZZTIME ?= 20s

.PHONY: help fmt lint test race invariants fuzz bench chaos clients ci

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

fmt: ## format all Go files
	gofmt -w .

lint: ## vet and staticcheck
	go vet ./...
	go tool staticcheck ./...

test: ## run all tests
	go test ./...

race: ## run the tests, short, with the race detector
	CGO_ENABLED=1 go test -race -short ./...

invariants: ## run the engine's tests with the costly assertions on
	go test -tags invariants .

fuzz: ## run each fuzz target for FUZZTIME
	@set -e; for p in $$(go list ./...); do \
		for t in $$(go test -list '^Fuzz' $$p | sed -n '/^Fuzz/p'); do \
			echo "$$p $$t"; \
			go test -run '^$$' -fuzz "^$$t\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=5x -parallel=2 $$p; \
		done; \
	done

bench: ## run all benchmarks and log the latency budget; docs/PERFORMANCE.md
	go test -timeout=0 -run '^$$' -bench . -benchmem ./...
	go test -count=1 -run '^TestBudget$$' -v ./bench

chaos: ## crash, kill and stress the engine: STATES crash states, ROUNDS kills, OPS operations
	go test -count=1 -run '^TestKill$$' . -kill.rounds=$(ROUNDS)
	go test -count=1 -timeout=0 -run '^TestCrash$$' ./chaos -crashes=$(STATES) -seed=$(SEED)
	go test -count=1 -timeout=0 -tags mutants -run Mutation ./chaos
	go test -count=1 -timeout=0 -run '^TestStress$$' ./chaos/stress -stress.ops=$(OPS)

clients: ## run the tests of programs that use bbolt on both engines
	compat/clients/run -all

ci: ## run what the continuous integration runs
	.ci/run
