# Fuzz targets, with libFuzzer and sanitizers, over the fake port. The variables of src/ get
# sections of their own, so that every input begins with fresh ones.

FUZZ_NAMES := msg chain chain_packed inflight inflight_packed console net net_offload opts vsock
FUZZ := $(FUZZ_NAMES:%=$(T)/fuzz/%.fuzz)
TEST_BINARIES += $(FUZZ)

FUZZ_CC := clang -std=c11 -D_GNU_SOURCE -g -O1 -fno-omit-frame-pointer -Wall -Wextra -Werror \
	-fsanitize=address,undefined -fno-sanitize-recover=all \
	-Iinclude -Itests/unit -Itests/fuzz -include tests/fuzz/hook.h $(FUZZ_FLAGS)
FUZZ_DIR := $(T)/obj/fuzz
FUZZ_REAL := $(patsubst %.c,$(FUZZ_DIR)/%.o,$(filter-out src/main.c,$(wildcard src/*.c src/*/*.c)) \
	tests/unit/rig.c)
FUZZ_OWN := $(patsubst %.c,$(FUZZ_DIR)/%.o,$(wildcard tests/unit/fake_*.c) tests/unit/driver.c \
	tests/unit/front.c $(filter-out $(FUZZ_NAMES:%=tests/fuzz/%.c),$(wildcard tests/fuzz/*.c)))
FUZZ_HEADERS := $(HEADERS) $(wildcard tests/unit/*.h tests/fuzz/*.h) src/main.c tests/fuzz/rules.mk

$(FUZZ): $(T)/fuzz/%.fuzz: $(FUZZ_DIR)/tests/fuzz/%.o $(FUZZ_REAL) $(FUZZ_OWN)
	@mkdir -p $(@D)
	$(FUZZ_CC) -fsanitize=fuzzer $^ -o $@

$(FUZZ_REAL): $(FUZZ_DIR)/%.o: %.c $(FUZZ_HEADERS)
	@mkdir -p $(@D)
	$(FUZZ_CC) -fsanitize=fuzzer-no-link -c $< -o $@
	objcopy --rename-section .bss=vubox_bss --rename-section .data=vubox_data $@

$(FUZZ_OWN) $(FUZZ_NAMES:%=$(FUZZ_DIR)/tests/fuzz/%.o): $(FUZZ_DIR)/%.o: %.c $(FUZZ_HEADERS)
	@mkdir -p $(@D)
	$(FUZZ_CC) -c $< -o $@
