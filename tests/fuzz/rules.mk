# Fuzz targets, with libFuzzer and sanitizers, over the fake port. Limits are low, so that they are
# met; the variables of src/ get sections of their own, so that every input begins with fresh ones.

FUZZ_NAMES := msg chain inflight opts
FUZZ := $(FUZZ_NAMES:%=$(T)/fuzz/%.fuzz)
TEST_BINARIES += $(FUZZ)

FUZZ_LIMITS := -DCONFIG_DEVICES_MAX=2 -DCONFIG_QUEUES_MAX=4 -DCONFIG_REQUESTS_MAX=16 \
	-DCONFIG_REGIONS_MAX=12 -DCONFIG_SPANS_INLINE=8 -DCONFIG_LONG_MAX=2 \
	-DCONFIG_RING_SIZE_MAX=64 -DCONFIG_BUDGET=4 -DCONFIG_WORDS_MAX=24 -DFRONT_BYTES=0x18000
FUZZ_CC := clang -std=c11 -D_GNU_SOURCE -g -O1 -fno-omit-frame-pointer -Wall -Wextra -Werror \
	-fsanitize=address,undefined -fno-sanitize-recover=all \
	-Iinclude -Itests/unit -Itests/fuzz $(FUZZ_LIMITS)
FUZZ_DIR := $(T)/obj/fuzz
FUZZ_REAL := $(patsubst %.c,$(FUZZ_DIR)/%.o,$(filter-out src/main.c,$(wildcard src/*.c src/*/*.c)) \
	tests/unit/rig.c)
FUZZ_OWN := $(patsubst %.c,$(FUZZ_DIR)/%.o,$(wildcard tests/unit/fake_*.c) tests/unit/driver.c \
	tests/unit/front.c tests/fuzz/fuzz.c)
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
