# The tests: what is built for them, in which order they run. Included by Makefile.
# A suite prints `ok`, `not ok` or `skip` lines; tests/run.sh runs and counts them.

HOST_CC ?= gcc
CORES = $(shell nproc)

T := $(BUILD)/tests
-include $(wildcard tests/*/rules.mk)

# ---- protocol tests: each file is a suite against the real binary ----

PROTO := $(filter-out tests/proto/front.py,$(wildcard tests/proto/*.py))

# ---- the suites, quick ones first ----

SCRIPTS := $(filter-out %/lib.sh %/prepare.sh %/prepare_qemu.sh %/demo.sh %/toolchain.sh, \
	$(wildcard tests/*/*.sh))
scripts_of = $(filter tests/$(1)/%,$(SCRIPTS))

# What is allowed in the cage, and what not.
CAGE := tests/cage/bars.py $(call scripts_of,cage)

QUICK := $(call scripts_of,nocompile) tests/tidy.sh tests/cage/lines.py $(UNIT)
SUITES := $(QUICK) $(UNIT_ASAN) $(call scripts_of,cli) $(PROTO_SUITES) $(PROTO) \
	$(call scripts_of,sanitize) $(call scripts_of,lint) $(call scripts_of,sim) \
	tests/bench/check.sh $(call scripts_of,coverage) $(call scripts_of,guest) \
	$(call scripts_of,fuzz) tests/proofs/fuzz.sh \
	$(call scripts_of,mutants) $(call scripts_of,cross) $(CAGE)

# Installing comes first and in a process of its own: it may bring the compiler that make looks for.
test:
	sh tests/install.sh
	$(MAKE) test-run

test-run:
	$(MAKE) -s -j$(CORES) vubox $(UNIT) $(UNIT_ASAN) $(TEST_BINARIES)
	sh tests/run.sh $(SUITES)

check:
	$(MAKE) -s -j$(CORES) vubox $(UNIT)
	sh tests/run.sh $(QUICK)

demo:
	sh tests/install.sh build guest demo
	$(MAKE) vubox
	sh tests/guest/demo.sh

bench:
	sh tests/bench/run.sh

fuzz: $(TEST_BINARIES)
	sh tests/fuzz/run.sh $(SECONDS)

mutants:
	sh tests/mutants/run.sh

proofs:
	sh tests/install.sh test proofs
	sh tests/run.sh tests/proofs/run.sh tests/proofs/fuzz.sh

.PHONY: test-run proofs
