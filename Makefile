# Thin over Meson and Ninja: `make help` lists what there is. Everything made here lies in build/ and _rel/.

PREFIX       ?= /usr
SYSCONFDIR   ?= /etc
LOCALSTATEDIR?= /var
DESTDIR      ?=
FUZZ_SECONDS ?= 20
MESON        ?= meson
NINJA        ?= ninja
# The system's interpreter: it is the one that sees the system's Python packages.
PYTHON       ?= /usr/bin/python3

TREE := _rel/emqx

# What each build directory is configured with.
OPTIONS_release  := -Doptimization=2 -Ddebug=true -Db_lto=true -Dtests=false
OPTIONS_asan     := -Doptimization=1 -Ddebug=true -Db_sanitize=address,undefined -Db_lundef=false
OPTIONS_tsan     := -Doptimization=1 -Ddebug=true -Db_sanitize=thread -Db_lundef=false -Dbench=false
OPTIONS_fuzz     := -Doptimization=1 -Ddebug=true -Db_sanitize=address,undefined -Db_lundef=false \
                    -Dfuzz=true -Dtests=false -Dbench=false
OPTIONS_coverage := -Doptimization=0 -Ddebug=true -Db_coverage=true -Dbench=false
CC_fuzz          := clang

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
# Packages come before the builds that need them; it is Ninja that works in parallel.
.NOTPARALLEL:

.PHONY: all
all: check-deps release ## Build the release tree _rel/emqx (the default)

.PHONY: run
run: deps release ## Install what is missing, build, and run the broker in the foreground
	exec $(TREE)/bin/emqx foreground

.PHONY: test
test: deps-test ## Install what is missing, then every test: unit, integration, sanitizers, fuzz, tidy
	@$(PYTHON) tools/test.py all

.PHONY: test-quick
test-quick: deps-test ## Unit tests and the quick integration tests, in under a minute
	@$(PYTHON) tools/test.py quick

.PHONY: crash
crash: deps-test ## The crash suite as in a nightly run: each test kills CRASH_KILLS (200) times
	@CRASH_KILLS=$(or $(CRASH_KILLS),200) $(PYTHON) tools/test.py release crash

.PHONY: bench
bench: deps-bench release ## Compare with mosquitto and write docs/benchmarks.md
	$(PYTHON) bench/run.py

.PHONY: fuzz
fuzz: deps-test ## Run every fuzz target for FUZZ_SECONDS (20)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTHON) tools/test.py fuzz

.PHONY: tidy
tidy: deps-test ninja-fuzz ## Check layers, layout and clang-tidy; report sizes
	@$(PYTHON) tools/tidy.py

.PHONY: format
format: ## Lay out all C files with clang-format
	git ls-files -co --exclude-standard '*.c' '*.h' | xargs -r clang-format -i

.PHONY: generate
generate: check-deps ninja-release ## Write etc/emqx.conf and docs/configuration.md from the key tables
	@$(NINJA) -C build/release update-conf update-plugin-conf

.PHONY: coverage
coverage: deps-coverage ninja-coverage ## Unit test coverage as build/coverage/coverage.html
	$(MESON) test -C build/coverage --no-rebuild --print-errorlogs
	gcovr --root . --filter 'src/' --object-directory build/coverage --exclude-unreachable-branches \
	    --html-details build/coverage/coverage.html --print-summary build/coverage

.PHONY: install
install: check-deps ninja-release ## Install: programs in PREFIX (/usr), /etc/emqx, /var/lib/emqx, /var/log/emqx
	@$(PYTHON) tools/release.py --build build/release --install --destdir '$(DESTDIR)' --prefix '$(PREFIX)' \
	    --sysconfdir '$(SYSCONFDIR)' --localstatedir '$(LOCALSTATEDIR)'

.PHONY: clean
clean: ## Remove build/; the release tree with your configuration and data stays
	rm -rf build

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ---- Dependencies: quick and offline when everything is there.

.PHONY: deps deps-test deps-bench deps-coverage check-deps
deps: ## Install the packages that building needs
	@tools/install-deps.sh build
deps-test:
	@tools/install-deps.sh build test
deps-bench:
	@tools/install-deps.sh build bench
deps-coverage:
	@tools/install-deps.sh build coverage
check-deps:
	@tools/install-deps.sh --check build

# ---- Builds

.PHONY: release
release: ninja-release
	@$(PYTHON) tools/release.py --build build/release --tree $(TREE)

# Sanitizer builds get a release tree of their own, so that the integration tests can run from it.
.PHONY: release-asan release-tsan
release-asan release-tsan: release-%: ninja-%
	@$(PYTHON) tools/release.py --build build/$* --tree build/$*/emqx

.PHONY: ninja-release ninja-asan ninja-tsan ninja-fuzz ninja-coverage
ninja-release ninja-asan ninja-tsan ninja-fuzz ninja-coverage: ninja-%: build/%/build.ninja
	@$(NINJA) -C build/$*

# Configured anew when the options above change; Ninja itself notices changes of meson.build.
BUILDS := release asan tsan fuzz coverage
$(BUILDS:%=build/%/build.ninja): build/%/build.ninja: Makefile meson_options.txt
	@if [ -f $@ ]; then \
	    $(MESON) setup --reconfigure build/$* $(OPTIONS_$*) || \
	        { echo 'make: if build/$* comes from another version of Meson, `make clean` helps' >&2; exit 1; }; \
	else \
	    rm -rf build/$* && $(if $(CC_$*),CC=$(CC_$*)) $(MESON) setup build/$* $(OPTIONS_$*); \
	fi
	@touch $@
