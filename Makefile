# make help tells what there is. demo and test install what they need.

GO       ?= go
FUZZTIME ?= 30s
N        ?= 20000
UPSTREAM := test/upstream
BINARY   := bin/warmfront

.DEFAULT_GOAL := help
.PHONY: help setup build check oracle mutations test demo bench-hit bench-warm bench-busy bench-correlations fuzz lint clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what demo and test need: redis-server, the stand-in's packages
	@bash .ci/setup

build: ## build the static binary into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o $(BINARY) .

check: ## gofmt and go vet
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not formatted: $$unformatted"; exit 1; }
	$(GO) vet ./...

test: setup build check ## everything CI runs: unit tests, the stand-in's own, end to end
	cd $(UPSTREAM) && npm test --silent
	$(GO) test -race -count=1 -run '^$$' ./... >/dev/null # compiles what follows, on all cores
	$(GO) test -race -count=1 -timeout 30m -p 2 -parallel 4 ./... # the limit is for hangs; tests wait more than they compute

oracle: ## N (20000) random operations: no answer may be one that the server would not have given; ORACLE_SEED=… again
	ORACLE_N=$(N) $(GO) test -count=1 -v -timeout 4h -run 'TestOracleFindsNoWrongAnswer' ./test/oracle

mutations: ## take each protective rule out: the oracle must notice (MUTATIONS=<rule>,… only these), and nothing with all in force
	MUTATIONS=$(or $(MUTATIONS),all) CONTROLS=$(or $(MUTATIONS),all) $(GO) test -count=1 -v -timeout 1h -run 'Mutation|Missing' ./test/oracle

demo: setup build ## the stand-in server, Warmfront in front, real requests, a table; Ctrl-C ends it (ONCE=1 exits)
	@ONCE=$(ONCE) $(GO) run ./test/demo

bench-hit: ## ns/op and allocations of a memory hit
	$(GO) test -run '^$$' -bench MemoryHit -benchmem ./proxy

bench-warm: setup ## hit rate, times and the server's load around a sync and a warm run (BOTS=40 REQUESTS=1500)
	@BOTS=$(BOTS) REQUESTS=$(REQUESTS) $(GO) run ./test/bench

bench-busy: setup ## how long hits take while 16 backtests hold the server, on every route, of one replica and three (REPLICAS=n)
	@REPLICAS=$(REPLICAS) $(GO) run ./test/bench/busy

bench-correlations: ## all pairs of 250 to 1 000 bots: time, growth with pairs × days, memory; into Redis and Postgres
	$(GO) test -run '^$$' -bench Correlations -benchtime 1x ./warm/seed

fuzz: ## every fuzz target for FUZZTIME (30s)
	@set -e; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "== $$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

lint: ## staticcheck, at a fixed version
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

clean: ## remove what was built and generated
	rm -rf bin $(UPSTREAM)/.data $(UPSTREAM)/node_modules
