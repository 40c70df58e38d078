# The simulator: the real base, core and devices, with sanitizers, on the fake port. Their variables
# get sections of their own, so that each life of the process begins with fresh ones, and their
# calls of the port are renamed to those of calls.c (one that is missing there does not link).

SIM_CC ?= clang
SIM_DIR := $(BUILD)/tests/obj/sim
SIM_CFLAGS := -std=c11 -O1 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror \
	-Iinclude -Itests/unit -Itests/sim -include tests/sim/hook.h
SIM_SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SIM_REAL := $(patsubst %.c,$(SIM_DIR)/%.o,$(wildcard src/base/*.c src/core/*.c src/dev/*.c))
SIM_OWN := $(patsubst %.c,$(SIM_DIR)/%.o,$(wildcard tests/sim/*.c tests/unit/fake_*.c))
SIM_HEADERS := $(wildcard include/*.h include/spec/*.h tests/sim/*.h tests/unit/fake_*.h)

TEST_BINARIES += $(BUILD)/tests/sim/sim

$(BUILD)/tests/sim/sim: $(SIM_REAL) $(SIM_OWN)
	@mkdir -p $(@D)
	$(SIM_CC) $(SIM_SANITIZE) $^ -o $@

$(SIM_REAL): $(SIM_DIR)/%.o: %.c $(SIM_HEADERS) tests/sim/rules.mk
	@mkdir -p $(@D)
	$(SIM_CC) $(SIM_CFLAGS) $(SIM_SANITIZE) -c $< -o $@
	nm -u $@ | sed -n 's/.* \(port_[a-z0-9_]*\)$$/\1 sim_\1/p' >$@.calls
	objcopy --rename-section .bss=vubox_bss --rename-section .data=vubox_data \
		--redefine-syms=$@.calls $@

$(SIM_OWN): $(SIM_DIR)/%.o: %.c $(SIM_HEADERS) tests/sim/rules.mk
	@mkdir -p $(@D)
	$(SIM_CC) $(SIM_CFLAGS) -fsanitize=address -c $< -o $@
