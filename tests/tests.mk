# The tests: what is built for them, in which order they run. Included by Makefile.
# A suite prints `ok`, `not ok` or `skip` lines; tests/run.sh runs and counts them.

HOST_CC ?= gcc
TEST_CFLAGS := -std=c11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wno-unused-parameter

T := $(BUILD)/tests
-include $(wildcard tests/*/rules.mk)

# ---- protocol tests: each file is a suite against the real binary ----

FRONT := $(wildcard tests/front/*.c)
PROTO := $(patsubst tests/proto/%.c,$(T)/proto/%,$(wildcard tests/proto/*.c))

$(T)/proto/%: tests/proto/%.c $(FRONT) $(wildcard tests/front/*.h)
	@mkdir -p $(@D)
	$(HOST_CC) $(TEST_CFLAGS) -Itests/front $< $(FRONT) -o $@

# ---- the suites, quick ones first ----

SCRIPTS := $(filter-out %/lib.sh %/prepare.sh %/demo.sh %/toolchain.sh,$(wildcard tests/*/*.sh))
scripts_of = $(filter tests/$(1)/%,$(SCRIPTS))

QUICK := $(call scripts_of,nocompile) tests/tidy.sh $(UNIT)
SUITES := $(QUICK) $(call scripts_of,cli) $(PROTO) $(call scripts_of,proto) $(SIM) \
	$(call scripts_of,sim) $(call scripts_of,guest) $(call scripts_of,fuzz) \
	$(call scripts_of,mutants) $(call scripts_of,cross)

# Installing comes first and in a process of its own: it may bring the compiler that make looks for.
test:
	sh tests/install.sh
	$(MAKE) test-run

test-run: vubox $(UNIT) $(PROTO) $(SIM) $(TEST_BINARIES)
	sh tests/run.sh $(SUITES)

check: vubox $(UNIT)
	sh tests/run.sh $(QUICK)

demo:
	sh tests/install.sh build guest
	$(MAKE) vubox
	sh tests/guest/demo.sh

bench:
	sh tests/install.sh build bench
	$(MAKE) vubox
	sh tests/bench/run.sh

fuzz: $(TEST_BINARIES)
	sh tests/fuzz/run.sh $(SECONDS)

mutants:
	sh tests/mutants/run.sh

.PHONY: test-run
