# Coverage of src/base and src/core by the unit tests (but those of port/) and by the simulator.
#
# By gcov rather than llvm-cov: it counts for each call whether it came back, so a process that dies
# in the middle of a function, as the simulator's do, makes no branch behind it look taken. Each of
# the conditions of an && or || is a branch of its own. The unit tests are built in unit/rules.mk.

COVERAGE_CC := gcc -O0 --coverage --param logical-op-non-short-circuit=0 -DCONFIG_FAST=inline
COVERAGE_DIR := $(T)/obj/coverage-sim
COVERAGE_SIM := -std=c11 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Itests/unit \
	-Itests/sim -include tests/sim/hook.h
COVERAGE_SOURCES := $(wildcard src/base/*.c src/core/*.c src/dev/*.c tests/sim/*.c \
	tests/unit/fake_*.c) tests/coverage/exit.c
COVERAGE_HEADERS := $(HEADERS) $(wildcard tests/sim/*.h tests/unit/*.h) tests/coverage/rules.mk

TEST_BINARIES += coverage-binaries

coverage:
	$(MAKE) -s -j$(CORES) coverage-binaries
	@sh tests/run.sh tests/coverage/run.sh; status=$$?; cat build/coverage/table; exit $$status

coverage-binaries: $(T)/coverage/sim

$(T)/coverage/sim: $(COVERAGE_SOURCES:%.c=$(COVERAGE_DIR)/%.o)
	@mkdir -p $(@D)
	$(COVERAGE_CC) -Wl,--wrap=_exit $^ -o $@

# A life of the simulator begins with fresh variables, but what gcov counts outlives it.
$(COVERAGE_DIR)/src/%.o: src/%.c $(COVERAGE_HEADERS)
	@mkdir -p $(@D)
	$(COVERAGE_CC) $(COVERAGE_SIM) -fdata-sections -c $< -o $@
	objcopy $$(objdump -h $@ | sed -nE '/\.(bss\.__gcov|data\.rel)/!s/^ *[0-9]+ \
		(\.(bss|data)\.[^ ]+) .*/--rename-section \1=vubox_\2/p') $@

$(COVERAGE_DIR)/tests/%.o: tests/%.c $(COVERAGE_HEADERS)
	@mkdir -p $(@D)
	$(HOST_CC) -O1 $(COVERAGE_SIM) -c $< -o $@

.PHONY: coverage coverage-binaries
