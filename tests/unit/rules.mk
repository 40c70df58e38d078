# Unit tests: every suite is built by gcc into unit/, and by clang with sanitizers into unit-asan/.
# port_*.c are linked with port/ and meet the real kernel, the others with the fake port.

UNIT_HELP := unit driver rig front
UNIT_FAKE := $(basename $(notdir $(wildcard tests/unit/fake_*.c)))
UNIT_NAMES := $(filter-out $(UNIT_HELP) $(UNIT_FAKE), \
	$(basename $(notdir $(wildcard tests/unit/*.c))))
UNIT_PORT := $(filter port_%,$(UNIT_NAMES))
UNIT += $(UNIT_NAMES:%=$(T)/unit/%)
UNIT_ASAN := $(UNIT_NAMES:%=$(T)/unit-asan/%)

coverage-binaries: $(patsubst %,$(T)/coverage/%,$(filter-out $(UNIT_PORT),$(UNIT_NAMES)))

UNIT_HEADERS := $(HEADERS) $(wildcard tests/unit/*.h) src/main.c
UNIT_FLAGS := -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -g -Wall -Wextra -Werror \
	-Iinclude -Iport -Itests/unit -I$(T)/obj
UNIT_CC_unit := $(HOST_CC) -O1
UNIT_CC_unit-asan := clang -O1 -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=all
UNIT_CC_coverage = $(COVERAGE_CC)

UNIT_BASE_FILES := $(wildcard src/base/*.c) tests/unit/unit.c
UNIT_FAKE_FILES := $(filter-out src/main.c,$(wildcard src/*.c src/*/*.c)) \
	$(UNIT_HELP:%=tests/unit/%.c) $(UNIT_FAKE:%=tests/unit/%.c)
UNIT_PORT_FILES := $(UNIT_BASE_FILES) $(wildcard port/*.c)

$(T)/obj/calls.h: $(CALLS)
	@mkdir -p $(@D)
	sh port/calls.sh $(HOST_CC) $(filter %.c,$(CALLS)) >$@.new && mv $@.new $@

define unit_rules
$(T)/obj/$(1)/port/cage.o: $(T)/obj/calls.h
$(T)/obj/$(1)/%.o: %.c $$(UNIT_HEADERS) tests/unit/rules.mk
	@mkdir -p $$(@D)
	$$(UNIT_CC_$(1)) $$(UNIT_FLAGS) -c $$< -o $$@

$$(UNIT_PORT:%=$(T)/$(1)/%): $(T)/$(1)/%: $(T)/obj/$(1)/tests/unit/%.o \
		$$(UNIT_PORT_FILES:%.c=$(T)/obj/$(1)/%.o)
	@mkdir -p $$(@D)
	$$(UNIT_CC_$(1)) $$^ -o $$@

$(T)/$(1)/%: $(T)/obj/$(1)/tests/unit/%.o $$(UNIT_FAKE_FILES:%.c=$(T)/obj/$(1)/%.o)
	@mkdir -p $$(@D)
	$$(UNIT_CC_$(1)) $$^ -o $$@
endef
$(foreach v,unit unit-asan coverage,$(eval $(call unit_rules,$(v))))

unit: $(UNIT) $(UNIT_ASAN)
	sh tests/run.sh $(UNIT) $(UNIT_ASAN)

.SECONDARY:
.PHONY: unit
